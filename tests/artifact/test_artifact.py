"""Artifacts are written atomically, and say what is wrong when they are not."""

import json
import resource
import signal

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact, atomic_folder, check_folder, content_id, write_record
from chirplet.artifact.predictions import write_predictions
from chirplet.data.base import Examples
from chirplet.system.error import ArtifactError
from chirplet.task.single_label import SingleLabel
from records import make_record


def examples(n: int) -> Examples:
    return Examples([f"a:{i}" for i in range(n)], ["x"] * n, np.arange(n) % 2, [None] * n)


def test_a_block_that_ends_well_leaves_the_whole_folder(tmp_path):
    with atomic_folder(tmp_path / "artifact") as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / "artifact").exists()
    assert (tmp_path / "artifact" / "a.txt").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.parametrize(
    ("error", "told"), [(OSError(28, "No space left on device"), ArtifactError), (KeyError, KeyError)]
)
def test_a_block_that_fails_leaves_nothing(tmp_path, error, told):
    with pytest.raises(told), atomic_folder(tmp_path / "artifact") as folder:
        (folder / "a.txt").write_text("a")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_while_weights_are_written_leaves_nothing(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert(tmp_path / "base"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ArtifactError, match=r"could not write .*out'.*nothing was left there"):  # noqa: SIM117
            with atomic_folder(tmp_path / "out") as folder:
                model.save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_artifacts_are_not_overwritten(tmp_path):
    with pytest.raises(ArtifactError, match="exists already"), atomic_folder(tmp_path):
        pass


def test_the_id_depends_on_names_and_bytes_but_not_on_record_and_card(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"w")
    first = content_id(tmp_path)
    (tmp_path / "artifact.json").write_text("{}")
    (tmp_path / "README.md").write_text("card")
    assert content_id(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"v")
    assert content_id(tmp_path) != first


def test_predictions_are_read_back_by_split(tmp_path):
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_predictions(tmp_path, {"val": (examples(2), logits[:2]), "test": (examples(3), logits)}, SingleLabel())
    artifact = Artifact(tmp_path, make_record(labels=["a", "b"]))
    found = artifact.predictions("test")
    assert found.row_id == ["a:0", "a:1", "a:2"]
    assert found.label.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(found.logits, logits)
    with pytest.raises(ArtifactError, match="no predictions for the split 'train'"):
        artifact.predictions("train")


def test_a_record_names_its_task_and_one_from_before_there_were_tasks_is_of_single_labels(tmp_path):
    write_record(tmp_path, make_record())
    content = json.loads((tmp_path / "artifact.json").read_text())
    assert content["task"] == {"name": "single_label"}
    del content["task"]
    (tmp_path / "artifact.json").write_text(json.dumps(content))
    assert Artifact.open(tmp_path).record.task == SingleLabel()


@pytest.mark.parametrize("task", ["single_label", {}, {"name": "os"}, {"name": "single_label", "colour": "red"}, None])
def test_a_record_of_an_unknown_task_is_refused(tmp_path, task):
    write_record(tmp_path, make_record())
    content = json.loads((tmp_path / "artifact.json").read_text())
    (tmp_path / "artifact.json").write_text(json.dumps(content | {"task": task}))
    with pytest.raises(ArtifactError, match=r"not a valid record: task(\.colour)?: ") as caught:
        Artifact.open(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_that_the_record_does_not_have_are_refused(tmp_path, label):
    one = Examples(["a:1", "a:2"], ["x", "y"], np.array([label, 1]), [None] * 2)
    write_predictions(tmp_path, {"val": (one, np.zeros((2, 2), np.float32))}, SingleLabel())
    with pytest.raises(ArtifactError, match="the labels of val should be 0 to 1, as the record has labels"):
        Artifact(tmp_path, make_record(labels=["a", "b"])).predictions("val")


def test_a_folder_that_is_no_artifact_is_named_with_what_is_near(tmp_path):
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    (tmp_path / "run" / "artifact" / "artifact.json").write_text("{}")
    with pytest.raises(ArtifactError, match="no such folder; did you mean 'run'"):
        check_folder(tmp_path / "runn")
    with pytest.raises(ArtifactError, match=r"it has no artifact\.json; did you mean '.*run/artifact'"):
        check_folder(tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "is not JSON"), ("{}", "is not a valid record"), (json.dumps({"schema_version": 9}), "schema_version")],
)
def test_a_damaged_record_is_told_in_one_line(tmp_path, text, told):
    (tmp_path / "artifact.json").write_text(text)
    with pytest.raises(ArtifactError, match=told) as caught:
        Artifact.open(tmp_path)
    assert "\n" not in str(caught.value)
