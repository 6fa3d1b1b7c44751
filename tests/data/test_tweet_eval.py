import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chirplet.data.base import Source
from chirplet.system.error import ConfigError, DataError

Make = Callable[..., Source]


@pytest.mark.parametrize("below", ["", "datasets", "datasets/emotion"])
def test_repository_and_task_folders_are_found(make_source: Make, emotion_folder: Path, below: str) -> None:
    source = make_source("tweet_eval", task="emotion", dir=str(emotion_folder / below))
    raw = source.read(source.files(emotion_folder))
    assert raw.labels == ("anger", "joy", "optimism", "sadness")
    assert {split: len(tweets) for split, tweets in raw.splits.items()} == {"train": 40, "val": 8, "test": 12}
    tweet = raw.splits["val"][5]
    assert (tweet.row_id, tweet.text, tweet.label) == ("val_text.txt:6", "val tweet 5 😀\x85 ", "joy")


def test_stance_tasks_share_a_mapping(make_source: Make, emotion_folder: Path) -> None:
    stance = emotion_folder / "datasets" / "stance"
    stance.mkdir()
    (emotion_folder / "datasets" / "emotion").rename(stance / "climate")
    (stance / "climate" / "mapping.txt").rename(stance / "mapping.txt")
    source = make_source("tweet_eval", task="stance_climate", dir=str(emotion_folder))
    assert len(source.read(source.files(emotion_folder)).splits["train"]) == 40


def test_wrong_tasks_and_folders(make_source: Make, emotion_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.task: got 'emotions', .*did you mean 'emotion'"):
        make_source("tweet_eval", task="emotions")
    with pytest.raises(ConfigError, match=r"which lacks mapping.txt for task=irony"):
        make_source("tweet_eval", task="irony", dir=str(emotion_folder))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val_labels.txt", "0\n" * 7, r"val_text.txt: has 8 tweets, but val_labels.txt has 7 labels"),
        ("val_labels.txt", "0\n" * 7 + "9\n", r"val_labels.txt row 8: got '9', should be one of 0, 1, 2, 3"),
        ("mapping.txt", "0\tanger\n2\tjoy\n", r"mapping.txt row 2: got '2\\tjoy', should be 1, a tab, and a new label"),
    ],
)
def test_damaged_files(make_source: Make, emotion_folder: Path, name: str, content: str, message: str) -> None:
    source = make_source("tweet_eval", task="emotion", dir=str(emotion_folder))
    (emotion_folder / "datasets" / "emotion" / name).write_text(content)
    with pytest.raises(DataError, match=message):
        source.read(source.files(emotion_folder))


def test_files_of_the_hub(make_source: Make, tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["no", "yes"]}}}}
    table = pa.table({"text": ["a", "b"], "label": [1, 0]})
    files = [tmp_path / f"{split}.parquet" for split in ("train", "validation", "test")]
    for file in files:
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), file)
    raw = make_source("tweet_eval").read(files)
    assert [(tweet.row_id, tweet.label) for tweet in raw.splits["val"]] == [
        ("validation.parquet:1", "yes"),
        ("validation.parquet:2", "no"),
    ]
    pq.write_table(table, files[0])
    with pytest.raises(DataError, match="does not name its labels"):
        make_source("tweet_eval").read(files)


def test_no_network_is_one_line(make_source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"cannot download sentiment/train.*set data.dir=FOLDER") as caught:
        make_source("tweet_eval").files(tmp_path)
    assert "\n" not in str(caught.value)
