"""What an artifact knows of its data stands on the command line below what the user gives."""

import json
from pathlib import Path

import pytest

from chirplet.artifact.artifact import Artifact
from chirplet.artifact.local_files import LOCAL, read_local_files, write_local_files
from chirplet.cli.known_data import with_data
from chirplet.data.csv import Csv
from chirplet.system.error import ConfigError
from comparisons import write_artifact
from places import CONF
from records import make_record

DATA = {
    "_target_": "chirplet.data.csv.Csv",
    "train": "reviews.csv",
    "val": None,
    "test": None,
    "text_column": "re'view",
    "label_column": "mood",
    "labels": ["no", 1],
    "val_fraction": 0.1,
    "test_fraction": 0.25,
    "since_removed": True,
}
KNOWN = ["data=csv", "data.test_fraction=0.25", 'data.text_column="re\'view"', "data.label_column=mood"]
LABELS = "data.labels=[no,1]"


@pytest.fixture
def artifact(tmp_path) -> Artifact:
    """An artifact of the user's file, whose folder is known."""
    (tmp_path / "reviews.csv").write_text("review,mood\nx,no\n")
    return made(tmp_path / "run")


def made(run: Path, **changes: object) -> Artifact:
    folder = write_artifact(run / "artifact", run.name, {"test": 30}, config={"data": DATA | changes})
    content = {"fingerprint": make_record().data.fingerprint, "data": {"train": str(run.parent / "reviews.csv")}}
    (run / LOCAL).write_text(json.dumps(content))
    return Artifact.open(folder)


def expanded(*arguments: str) -> list[str]:
    return with_data(arguments, CONF)


def test_what_differs_from_the_defaults_stands_before_the_user_s_overrides(artifact, tmp_path):
    given = ["-m", "stage=quantize", f"artifact={artifact.folder}", "data.label_column=other"]
    train = f"data.train={tmp_path}/reviews.csv"
    assert sorted(expanded(*given)[1:-3]) == sorted([*KNOWN[:-1], LABELS, train])
    assert expanded(*given)[0] == "-m" and expanded(*given)[-3:] == given[1:]


@pytest.mark.parametrize(
    "more",
    [
        ["stage=distill", "teacher=[{}]"],
        ["search=distill", "teacher={}"],
        ["artifact={}"],  # of a chain
        ["stage=prune", "experiment=best", "artifact={}", "+x=1"],
        ["stage=compare", "artifacts={}/../../*/artifact", "data.fold=1"],
    ],
)
def test_every_stage_that_starts_from_it_has_its_data(more, artifact):
    given = [one.format(artifact.folder) for one in more]
    # conf/experiment/best.yaml has a value of the data, so the experiment is asked.
    assert ("data=csv" in expanded(*given)) == ("experiment=best" not in given)


@pytest.mark.parametrize(
    "more",
    [
        ["stage=quantize", "artifact={}", "data=csv"],
        ["stage=predict", "artifact={}"],
        ["stage=push", "artifact={}"],
        ["stage=finetune", "artifact={}"],
        ["search=finetune", "artifact={}"],
        ["experiment=corona_minilm", "stage=distill", "teacher={}"],
        ["stage=quantize", "artifact={}/none"],
        ["stage=quantize", "artifact=null"],
        ["stage=quantize", "artifact=[{}"],
        ["stage=compare", "artifacts={}"],
    ],
)
def test_other_commands_stay_as_they_are(more, artifact):
    given = [one.format(artifact.folder) for one in more]
    assert expanded(*given) == given


def test_jobs_of_different_data_are_refused(artifact, tmp_path):
    same, other = made(tmp_path / "same"), made(tmp_path / "other", label_column="label")
    assert "data=csv" in expanded("-m", "stage=prune", f"artifact={artifact.folder},{same.folder}")
    with pytest.raises(
        ConfigError, match=r"artifact: got .* which were made from different data; give them one by one"
    ):
        expanded("-m", "stage=prune", f"artifact={artifact.folder},{other.folder}")


def test_files_that_are_not_there_are_asked_for_in_one_line(artifact, tmp_path, monkeypatch):
    command = ("stage=quantize", f"artifact={artifact.folder}")
    (tmp_path / "reviews.csv").rename(tmp_path / "moved.csv")
    with pytest.raises(
        ConfigError, match=r"^data.train: '.*reviews.csv', which .* is not there; give data.train=PATH$"
    ):
        expanded(*command)
    assert "data=csv" in expanded(*command, "data.train=moved.csv")
    (artifact.folder.parent / LOCAL).unlink()
    with pytest.raises(ConfigError, match=r"^data.train: 'reviews.csv', which .* is not there; give data.train=PATH$"):
        expanded(*command)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved.csv").rename(tmp_path / "reviews.csv")
    assert "data.train=reviews.csv" in expanded(*command)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "/etc/passwd", "../x", ["~"], {"_target_": "os.system"}])
def test_a_record_names_nothing_outside(value, tmp_path):
    for key in ("train", "text_column"):
        folder = made(tmp_path / key, **{key: value}).folder
        (folder.parent / LOCAL).unlink()
        with pytest.raises(ConfigError, match=f"data.{key}: .*; give data.{key}="):
            expanded("stage=prune", f"artifact={folder}", *(["data.train=x"] if key != "train" else []))


def test_files_of_other_texts_are_not_taken(artifact):
    assert [*read_local_files(artifact)] == ["train"]
    for content in ({"fingerprint": "0" * 64, "data": {"train": "/x"}}, [], {"data": 1}):
        (artifact.folder.parent / LOCAL).write_text(json.dumps(content))
        assert read_local_files(artifact) == {}


def test_files_are_written_as_absolute_paths_beside_the_artifact(artifact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = dict.fromkeys(Csv.model_fields) | {"train": ["reviews.csv", "~/x"]}
    write_local_files(artifact, Csv.model_construct(**values))
    assert read_local_files(artifact) == {"train": [f"{tmp_path}/reviews.csv", str(Path("~/x").expanduser())]}
    assert not (artifact.folder / LOCAL).exists()
