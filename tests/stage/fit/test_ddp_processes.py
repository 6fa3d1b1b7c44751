"""Two processes give the result of one, and end together."""

import csv
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.experiment import execute
from chirplet.module.classifier import Classifier
from chirplet.system.error import ConfigError, Interrupted, ProcessError
from runs import WHOLE, small_run

# The last batch has one text, which one of two processes goes without, and so has the last one of validation.
UNEVEN = ["stage.batch_size=43", "stage.eval_batch_size=79", WHOLE]
SAME = ["model.dropout=0.0", "model.classifier_dropout=0.0", "stage.learning_rate=1e-2", "stage.class_weights=balanced"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def overrides(base) -> list[str]:
    few = ["trainer.threads=1", "trainer.log_every_n_steps=1", "stage.evaluate_train=false"]
    return [*small_run(tiny_bert(base / "encoder"), base), *SAME, *few]


@pytest.fixture(scope="module")
def alone(base, overrides, compose_config) -> Artifact:
    """The artifact of one process."""
    execute(compose_config(*overrides, *UNEVEN, "stage.label_smoothing=0.1"), base / "alone")
    return Artifact.open(base / "alone" / "artifact")


def losses(artifact: Artifact) -> list[float]:
    """The logged loss of every step."""
    with (artifact.folder.parent / "metrics" / "metrics.csv").open() as file:
        return [float(row["train/batch_loss"]) for row in csv.DictReader(file) if row.get("train/batch_loss")]


def check_same(two: Artifact, one: Artifact, since: int = 0) -> None:
    """Check that counts are equal, and numbers up to rounding; losses after `since` steps."""
    assert two.record.training["steps"] == one.record.training["steps"]
    for split, metrics in one.record.metrics.items():
        actual = two.record.metrics[split]
        assert actual["n"] == metrics["n"] == one.record.data.sizes[split]
        assert actual["confusion_matrix"] == metrics["confusion_matrix"]
        logits = one.predictions(split).logits
        spread = np.ptp(logits, axis=0).max()
        assert spread > 0
        np.testing.assert_allclose(two.predictions(split).logits, logits, rtol=0, atol=0.01 * spread)
    rest = len(losses(one)) - since
    if rest > 0:
        np.testing.assert_allclose(losses(two)[-rest:], losses(one)[-rest:], rtol=1e-4)
        assert since or len(losses(two)) == rest


def test_two_processes_fine_tune_as_one(base, overrides, alone, compose_config):
    execute(compose_config(*overrides, *UNEVEN, "stage.label_smoothing=0.1", "trainer=ddp"), base / "two")
    two = Artifact.open(base / "two" / "artifact")
    assert two.record.training["processes"] == 2 and alone.record.training["processes"] == 1
    assert len(losses(alone)) == alone.record.training["steps"] == 28
    check_same(two, alone)
    training = two.record.training
    # The validation by both equals the final evaluation by one: no text was left out or counted twice.
    assert training["best_score"] == pytest.approx(two.record.metrics["val"]["f1_macro"], abs=1e-7)
    assert training["best_epoch"] == alone.record.training["best_epoch"]
    assert not peers()


def test_two_processes_prune_by_movement_and_learn_from_the_parent_as_one(base, overrides, alone, compose_config):
    pruned = []
    for name, devices in (("pruned", 1), ("pruned2", 2)):
        given = [f"artifact={alone.folder}", "pruner=movement", "pruner.every_steps=2", "stage.curve=[]"]
        more = ["stage.recovery=distill", "stage.learning_rate=1e-3", "trainer.max_epochs=1", *UNEVEN]
        execute(compose_config(*overrides, "stage=prune", *given, *more, f"trainer.devices={devices}"), base / name)
        pruned.append(Artifact.open(base / name / "artifact"))
    one, two = pruned
    check_same(two, one)
    assert two.record.training["pruning"]["reached"] == one.record.training["pruning"]["reached"] > 0


def peers() -> list[psutil.Process]:
    """Worker processes of this process."""
    actual = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            actual += [child] if "chirplet.stage.fit.ddp_worker" in child.cmdline() else []
    return actual


def before_step(monkeypatch, step: int, act: Callable[[], None]) -> None:
    """Call `act` in this process, the first of those that train, before that step (from 0 on)."""
    training_step = Classifier.training_step

    def acting(module, batch, index):
        if module.trainer.global_step == step:
            act()
        return training_step(module, batch, index)

    monkeypatch.setattr(Classifier, "training_step", acting)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_killed_process_ends_the_other(overrides, compose_config, tmp_path, monkeypatch):
    before_step(monkeypatch, 2, lambda: peers()[0].kill())
    with pytest.raises(
        ProcessError, match=r"^training process 2 of 2 was killed by signal SIGKILL \(out of memory\?\)"
    ):
        execute(compose_config(*overrides, "trainer=ddp"), tmp_path / "run")
    assert not peers()


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_resumes_with_another_number_of_processes(
    overrides, alone, compose_config, tmp_path, monkeypatch, capsys, first, then
):
    run = [*overrides, *UNEVEN, "stage.label_smoothing=0.1"]
    said = r"^interrupted at step 18; to resume, add resume=.* to the same command$"
    with monkeypatch.context() as patched, pytest.raises(Interrupted, match=said):
        before_step(patched, 17, terminate)  # in the second of the two epochs
        execute(compose_config(*run, f"trainer.devices={first}"), tmp_path)
    assert (tmp_path / "checkpoints" / "interrupted.ckpt").stat().st_size
    assert not peers()
    capsys.readouterr()
    execute(compose_config(*run, f"trainer.devices={then}"), tmp_path)
    assert f"the checkpoint was trained by {first} process" in capsys.readouterr().out
    resumed = Artifact.open(tmp_path / "artifact")
    assert resumed.record.training["resumed"] is True
    assert resumed.record.training["processes"] == then
    check_same(resumed, alone, since=18)
    assert not peers()


def test_rounding_by_a_whole_batch_needs_one_process(alone, compose_config, tmp_path):
    config = compose_config("stage=quantize", "quantizer=qat", "trainer=ddp", f"artifact={alone.folder}")
    with pytest.raises(ConfigError, match=r"^trainer.devices: got 2, should be 1 with quantizer=qat"):
        execute(config, tmp_path / "run")
