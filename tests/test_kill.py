"""Runs that are killed at random moments keep finished work and leave no partial files, and the same command resumes to
the result of an uninterrupted run. `sweep/test_kill.py` tests this for sweeps, with eight kills."""

import os
import random
import signal
from pathlib import Path

import psutil
import pytest

from checkpoints import tiny_bert
from killing import Broken, Moment, artifacts, done, leftovers, operations, said, start
from runs import small_run
from sweeps import wait_until


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("killing")


@pytest.fixture(scope="module")
def common(base) -> list[str]:
    few = ["trainer.limit_train_batches=6", "trainer.threads=1", "callback.checkpoint.every_minutes=1e-9"]
    return [*small_run(tiny_bert(base / "encoder"), base), *few, "callback=averaging", "logger=none"]


@pytest.fixture(scope="module")
def unbroken(base, common):
    """Run a command and count its changes of the file system."""

    def run(name: str, *overrides: str) -> tuple[Path, int]:
        folder = done([*common, *overrides], base / name)
        return folder, operations(folder)

    return run


@pytest.fixture(scope="module")
def tuned(unbroken) -> tuple[Path, int]:
    return unbroken("tuned", "stage=finetune")


STAGES = {
    "distill": ["stage=distill", "stage.cut.num_layers=1", "teacher=PARENT"],
    "prune": ["stage=prune", "stage.curve=[]", "pruner.every_steps=2", "artifact=PARENT"],
    "quantize": [
        "stage=quantize",
        "quantizer=qat",
        "stage.tolerance=null",
        "stage.sensitivity_texts=0",
        "artifact=PARENT",
    ],
}
STEPS = (
    "stage.steps={teacher: {stage: finetune, overrides: ['stage.measure_cost=false']},"
    "student: {stage: distill, overrides: ['stage.cut.num_layers=1','stage.measure_cost=false',"
    "'stage.label_only_baseline=false']}}"
)
KILLED = {"finetune": 2 + 2, "distill": 1 + 1, "prune": 1 + 1, "quantize": 0 + 1, "chain": 2, "predict": 2}
"""Kills of each command: at random moments, and during writes."""
SWEEPS = 8
"""Kills in `sweep/test_kill.py`."""


def test_there_are_enough_of_them():
    assert sum(KILLED.values()) + SWEEPS >= 20


def test_fine_tuning(tuned, common, tmp_path):
    whole, count = tuned
    broken = Broken([*common, "stage=finetune"], tmp_path, count, random.Random(0))
    for _ in range(2):
        broken.kill()
    for what in ("last.ckpt", "artifact"):
        broken.kill(while_writing=what)
    assert broken.kills == KILLED["finetune"]
    assert broken.torn >= 1
    assert broken.end() == artifacts(whole)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_starts_from_an_artifact(stage, tuned, unbroken, common, tmp_path):
    parent = tuned[0] / "artifact"
    overrides = [override.replace("PARENT", str(parent)) for override in STAGES[stage]]
    whole, count = unbroken(stage, *overrides)
    broken = Broken([*common, *overrides], tmp_path, count, random.Random(stage))
    for _ in range(KILLED[stage] - 1):
        broken.kill()
    broken.kill(while_writing="artifact")
    assert broken.kills == KILLED[stage]
    assert broken.torn >= 1
    assert broken.end() == artifacts(whole)


def test_a_chain(unbroken, common, base, tmp_path):
    # The cache remembers the artifacts of steps, so a separate cache makes the chain run all of them.
    overrides = ["stage=chain", STEPS, "stage.compare=false"]
    other = [override for override in common if not override.startswith(("stage.", "cache_dir="))]
    whole = done([*other, *overrides, f"cache_dir={base}/chained"], base / "chain")
    broken = Broken(
        [*other, *overrides, f"cache_dir={tmp_path}/cacheROUND"], tmp_path, operations(whole), random.Random(3)
    )
    for _ in range(KILLED["chain"]):
        broken.kill()
    assert broken.end() == artifacts(whole)
    assert len(artifacts(whole)) == 2


def test_labelling(tuned, common, tmp_path):
    labeled, examples = tmp_path / "labeled.csv", tmp_path / "texts.csv"
    examples.write_text("text\n" + "what a lovely day\n" * 4000, encoding="utf-8")
    other = [override for override in common if not override.startswith("stage.")]
    parts = ["stage=predict", f"artifact={tuned[0] / 'artifact'}", f"input={examples}", "stage.chunk_rows=100"]
    whole = tmp_path / "whole.csv"
    done([*other, *parts, f"output={whole}"], tmp_path / "unbroken")
    overrides = [*other, *parts, f"output={labeled}"]
    for old in (None, "the file of before"):
        if old is not None:
            labeled.write_text(old, encoding="utf-8")
        process = start(overrides, tmp_path / "broken", Moment(writing="labeled.csv"))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert (labeled.read_text(encoding="utf-8") if labeled.exists() else None) == old
    done(overrides, tmp_path / "broken")
    assert labeled.read_bytes() == whole.read_bytes()
    assert not leftovers(tmp_path)


def test_two_runs_on_a_cold_cache_and_on_one_folder(tuned, common, base, tmp_path):
    cold = [*common, "stage=finetune", f"cache_dir={tmp_path}/cold"]
    stopped = Moment(writing="last.ckpt", number=signal.SIGSTOP)
    both = [start(cold, tmp_path / "one", stopped), start(cold, tmp_path / "other")]
    wait_until(lambda: psutil.Process(both[0].pid).status() == psutil.STATUS_STOPPED)
    refused = start(cold, tmp_path / "one")
    refused.join()
    os.kill(both[0].pid, signal.SIGCONT)
    assert refused.exitcode == 2
    assert f"error: hydra.run.dir: another run is writing to '{tmp_path}/one'" in said(tmp_path / "one")
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0], said(tmp_path / "one") + said(tmp_path / "other")
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "other") == artifacts(tuned[0])
    assert len(list((tmp_path / "cold" / "corpus").glob("*.arrow"))) == 1
    # The same command again finds the run finished.
    done(cold, tmp_path / "one")
    assert f"done before: the artifact is {tmp_path}/one/artifact" in said(tmp_path / "one")
