"""A full disk: one line, exit code 2, and earlier files stay unchanged, for every writer.

A file may grow to so many bytes, which the system holds even the superuser to.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact, content_id
from chirplet.cli.experiment import execute
from chirplet.system.error import ArtifactError, DataError
from chirplet.system.error_messages import explain
from killing import leftovers
from runs import small_run
from sweeps import here

ROOM = 70_000
"""Bytes that what is looked for before a run fits into, but not what the run writes."""


@contextmanager
def room(size: int) -> Iterator[None]:
    """Limit the size of files to `size` bytes. (Python ignores the signal for that.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module")
def overrides(base) -> list[str]:
    few = ["trainer.limit_train_batches=4", "trainer.max_epochs=1", "logger=none"]
    return [*small_run(tiny_bert(base / "encoder"), base), *few]


@pytest.fixture(scope="module")
def artifact(base, overrides, compose_config) -> Artifact:
    execute(compose_config(*overrides), base / "run")
    return Artifact.open(base / "run" / "artifact")


def test_the_cache(overrides, compose_config, tmp_path):
    with pytest.raises(DataError, match=r"cannot be written .File too large.; set cache_dir to a"), room(ROOM):
        execute(compose_config(*overrides, f"cache_dir={tmp_path}/cache"), tmp_path / "run")
    assert not leftovers(tmp_path)


def test_a_checkpoint(artifact, overrides, compose_config, tmp_path):
    with (
        pytest.raises(ArtifactError, match=r"^could not write the checkpoint '\S+ckpt': File too large$"),
        room(ROOM),
    ):
        execute(compose_config(*overrides), tmp_path)
    assert not leftovers(tmp_path)
    assert not list(tmp_path.glob("**/*.ckpt"))


def test_an_artifact_whose_training_is_not_lost(artifact, overrides, compose_config, tmp_path, monkeypatch):
    from chirplet.stage.output import write_artifact as outcome

    write, message = (
        outcome.write_predictions,
        r"nothing was left there; the same command with resume=\S+last.ckpt needs no",
    )
    with monkeypatch.context() as patched, pytest.raises(ArtifactError, match=message):

        def full(*arguments: object) -> None:
            with room(1000):
                write(*arguments)

        patched.setattr(outcome, "write_predictions", full)
        execute(compose_config(*overrides), tmp_path)
    assert not leftovers(tmp_path)
    assert not (tmp_path / "artifact").exists()
    execute(compose_config(*overrides), tmp_path)
    made = Artifact.open(tmp_path / "artifact").record
    assert made.training["resumed"] is True
    assert made.id == artifact.record.id


def test_an_artifact_s_tokenizer(artifact, overrides, compose_config, tmp_path, monkeypatch):
    """Another library writes the tokenizer, in another language."""
    from chirplet.stage.output import write_artifact as outcome

    save = outcome.save_tokenizer

    def full(*arguments: object) -> None:
        with room(1000):
            save(*arguments)

    monkeypatch.setattr(outcome, "save_tokenizer", full)
    with pytest.raises(ArtifactError, match=r"^could not write '\S+artifact': File too large; nothing was left there"):
        execute(compose_config(*overrides), tmp_path)


def test_predictions(artifact, overrides, compose_config, tmp_path):
    (tmp_path / "in.csv").write_text("text\n" + "a lovely day\n" * 2000)
    (tmp_path / "out.csv").write_text("old")
    other = [override for override in overrides if not override.startswith("stage.")]
    parts = ["stage=predict", f"artifact={artifact.folder}", f"input={tmp_path}/in.csv", f"output={tmp_path}/out.csv"]
    message = r"^output: could not write '\S+out\.csv': File too large; the old file is unchanged$"
    with pytest.raises(DataError, match=message), room(ROOM):
        execute(compose_config(*other, *parts), tmp_path / "run")
    assert (tmp_path / "out.csv").read_text() == "old"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("stage", ["compare", "explore"])
def test_reports(stage, artifact, overrides, compose_config, tmp_path):
    other = [override for override in overrides if not override.startswith("stage.")]
    with pytest.raises((OSError, ArtifactError)) as caught, room(3000):
        execute(compose_config(*other, f"stage={stage}", f"artifacts=[{artifact.folder}]"), tmp_path)
    message = explain(caught.value)
    assert message is not None
    assert message[0].endswith(("File too large", "(File too large)")) and message[1] == 2
    assert not leftovers(tmp_path)
    assert artifact.record.id == content_id(artifact.folder)


def test_the_study_of_a_sweep(tmp_path):
    overrides = ["hydra.sweeper.n_trials=3", "sleep_s=0"]
    with pytest.raises(Exception) as caught, room(2000):  # whatever Optuna makes of it
        here(tmp_path / "sweep", *overrides)
    line = f"could not write to '{tmp_path}/sweep': File too large; give another hydra.sweep.dir"
    assert explain(caught.value) == (line, 2)
