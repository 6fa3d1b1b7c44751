import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chirplet.data.base import Source
from chirplet.data.preparation.prepare import build
from chirplet.system.error import ConfigError, DataError

Make = Callable[..., Source]


def test_cells_are_read_and_repaired(make_source: Make, corona_folder: Path) -> None:
    source = make_source("corona_nlp", dir=str(corona_folder), val_fraction=0.0)
    corpus = build(source, source.files(corona_folder))
    assert (corpus.train.text[-1], corpus.train.date[-1]) == ("it’s — fine & well", "2020-04-02")
    assert corpus.labels[corpus.train.label[-1]] == "Positive"
    assert corpus.train.text[0] == "tweet 0\nline two"
    assert corpus.report.repaired == {"line_break": 99, "utf8": 1, "html": 1, "encoding": 1}


def test_missing_files_are_a_fault_of_the_configuration(make_source: Make, corona_folder: Path) -> None:
    (corona_folder / "Corona_NLP_test.csv").unlink()
    with pytest.raises(ConfigError, match=r"data.dir: got .*Corona_NLP_test.csv', which is no file"):
        make_source("corona_nlp", dir=str(corona_folder))
    with pytest.raises(ConfigError, match=r"data.dir: got '/no/where', should be a folder with"):
        make_source("corona_nlp", dir="/no/where")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("16-03-2020", "2020/03/16", "train.csv row 1: TweetAt is '2020/03/16', should be a date, DD-MM-YYYY"),
        ("Extremely Negative", "Awful", "train.csv row 1: Sentiment is 'Awful', should be one of Extremely Negative"),
        ("OriginalTweet", "Tweet", "train.csv: no column 'OriginalTweet'"),
    ],
)
def test_wrong_cells(make_source: Make, corona_folder: Path, old: str, new: str, message: str) -> None:
    path = corona_folder / "Corona_NLP_train.csv"
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    source = make_source("corona_nlp", dir=str(corona_folder))
    with pytest.raises(DataError, match=message):
        source.read(source.files(corona_folder))


def test_without_kagglehub_one_line_says_what_to_do(
    make_source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r'pip install "chirplet\[kaggle\]", or download .* set data.dir=FOLDER'):
        make_source("corona_nlp").files(tmp_path)


@pytest.mark.skipif("CHIRPLET_CORONA_DIR" not in os.environ, reason="CHIRPLET_CORONA_DIR names no Corona NLP folder")
def test_the_real_set(make_source: Make) -> None:
    source = make_source("corona_nlp", dir=os.environ["CHIRPLET_CORONA_DIR"])
    report = build(source, source.files(Path())).report
    assert report.read["train"] == 41157
    assert (report.found["duplicate"], report.found["conflict_texts"]) == (33, 1)
