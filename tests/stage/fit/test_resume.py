"""The same command in the same folder goes on, another one is refused, and interruptions are exact."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from safetensors.torch import load_file, save_file

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.callback.base import INTERRUPTED, LAST
from chirplet.callback.lightning.interruption import Interruption
from chirplet.cli.experiment import execute
from chirplet.cli.interruption import interruptible
from chirplet.module.classifier import Classifier
from chirplet.stage.fit.resume import newest
from chirplet.stage.run.identity import Identity
from chirplet.system.ending_signals import ending_as_ctrl_c
from chirplet.system.error import ArtifactError, ConfigError, Interrupted
from runs import small_run

VAL_BATCHES = 5
"""Of the sample's 80 texts for validation."""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("resuming")


@pytest.fixture(scope="module")
def overrides(base) -> list[str]:
    few = ["trainer.limit_train_batches=6", "trainer.threads=1", "stage.batch_size=16", "logger=none"]
    return [*small_run(tiny_bert(base / "encoder"), base), *few, "stage.learning_rate=1e-3", "stage.eval_batch_size=16"]


@pytest.fixture
def finetune(compose_config, overrides):
    def run(folder: Path, *more: str) -> Artifact:
        execute(compose_config(*overrides, *more), folder)
        return Artifact.open(folder / "artifact")

    return run


@pytest.fixture(scope="module")
def whole(base, overrides, compose_config) -> Artifact:
    execute(compose_config(*overrides), base / "whole")
    return Artifact.open(base / "whole" / "artifact")


class Signalled:
    """Sends this process a signal in the midst of the `count`-th batch of a kind, counted over all epochs."""

    def __init__(self, monkeypatch, kind: str, count: int, number: int = signal.SIGINT) -> None:
        self.batches = 0
        step = getattr(Classifier, kind)

        def counted(module, batch, index):
            if not module.trainer.sanity_checking:
                self.batches += 1
                if self.batches == count:
                    os.kill(os.getpid(), number)
            return step(module, batch, index)

        monkeypatch.setattr(Classifier, kind, counted)


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (1, []),
        (4, ["callback=averaging"]),
        (4, ["trainer.val_check_interval=0.5"]),
        (1, ["trainer.max_steps=12"]),
        (4, ["trainer.accumulate_grad_batches=4"]),
    ],
    ids=str,
)
def test_an_interrupted_validation_is_made_anew_by_the_same_weights(
    finetune, whole, tmp_path, monkeypatch, options, batch
):
    expected = whole if options in ([], ["trainer.max_steps=12"]) else finetune(tmp_path / "whole", *options)
    with monkeypatch.context() as patched:
        # The second validation: at the end of an epoch or in its middle; the last one where there are two.
        once = 2 if "trainer.val_check_interval=0.5" not in options else 3
        signalled = Signalled(patched, "validation_step", (once - 1) * VAL_BATCHES + batch, signal.SIGTERM)
        with pytest.raises(Interrupted, match=r"interrupted at step \d+; to resume, add resume="):
            finetune(tmp_path / "run", *options)
        assert signalled.batches == (once - 1) * VAL_BATCHES + batch
    resumed = finetune(tmp_path / "run", *options)
    assert resumed.record.training["resumed"] is True
    assert resumed.record.id == expected.record.id
    for name in ("epochs", "steps", "best_epoch", "best_score"):
        assert resumed.record.training[name] == expected.record.training[name]


SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x", "SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"}
TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "1"}


@pytest.mark.parametrize(
    ("number", "environment"),
    [
        (signal.SIGTERM, {}),
        (signal.SIGHUP, {}),
        (signal.SIGUSR1, SLURM),
        (signal.SIGUSR2, SLURM | {"SLURM_NTASKS_PER_NODE": "4"}),
        (signal.SIGTERM, TORCHRUN),
    ],
)
def test_a_signal_leaves_a_validation_before_its_next_batch(finetune, tmp_path, monkeypatch, number, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", int(environment.get("SLURM_PROCID", 0)))  # as Lightning takes it
    signalled = Signalled(monkeypatch, "validation_step", 2, number)
    with pytest.raises(Interrupted, match=r"interrupted at step \d+; to resume, add resume="), ending_as_ctrl_c():
        finetune(tmp_path / "run")
    assert signalled.batches == 2 < VAL_BATCHES
    assert (tmp_path / "run" / "checkpoints" / INTERRUPTED).is_file()


def test_a_second_signal_does_not_end_a_run_before_it_has_saved_but_a_second_ctrl_c_does(tmp_path):
    with Interruption(tmp_path, None) as interruption:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_run_whose_folder_was_renamed_goes_on_as_if_it_had_not_been(finetune, tmp_path, monkeypatch, keep):
    # So slow that the weights differ after every step while no prediction does: the first epoch remains the best.
    options = ("stage.learning_rate=1e-8", "trainer.max_epochs=4", f"callback.checkpoint.keep={keep}")
    expected = finetune(tmp_path / "unbroken", *options)
    assert expected.record.training["best_epoch"] == 1
    with monkeypatch.context() as patched:
        Signalled(patched, "training_step", 15)
        with pytest.raises(Interrupted):
            finetune(tmp_path / "run", *options)
    (tmp_path / "run").rename(tmp_path / "moved")
    resumed = finetune(tmp_path / "moved", *options)
    assert not (tmp_path / "run").exists()
    assert resumed.record.training["resumed"] is True
    assert resumed.record.id == expected.record.id
    assert resumed.record.metrics == expected.record.metrics
    for name in ("epochs", "steps", "best_epoch", "best_score"):
        assert resumed.record.training[name] == expected.record.training[name]
    weights, right = (load_file(one.folder / "model.safetensors") for one in (resumed, expected))
    assert all(torch.equal(weights[name], right[name]) for name in right)
    best = [sorted(path.name for path in one.folder.parent.glob("checkpoints/best-*")) for one in (resumed, expected)]
    assert best[0] == best[1]
    assert len(best[0]) == keep


def test_a_checkpoint_without_the_best_one_so_far_is_refused(finetune, whole, tmp_path):
    shutil.copy(whole.folder.parent / "checkpoints" / "last.ckpt", tmp_path)
    with pytest.raises(
        ConfigError, match=r"^resume: '\S+' lacks 'best-\S+\.ckpt', the best checkpoint so far; copy it "
    ):
        finetune(tmp_path / "run", f"resume={tmp_path}/last.ckpt", "trainer.max_epochs=3")


def test_an_interruption_after_the_training_names_what_is_kept(finetune, whole, tmp_path, monkeypatch):
    from chirplet.stage.output import write_artifact as outcome

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(outcome, "evaluate_splits", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        last = re.escape(f"{folder}/checkpoints/last.ckpt")
        told = rf"^interrupted; what was trained is in {last}, and the same command with here resumes from it$"
        with pytest.raises(Interrupted, match=told), interruptible(folder, "here"):
            finetune(folder)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert [path.name for path in folder.iterdir() if path.suffix == ".tmp"] == []
    assert finetune(folder).record.id == whole.record.id


def test_a_run_that_is_resumed_from_its_end_has_the_averaged_weights(finetune, tmp_path):
    options = ("callback=averaging", "stage.final=true")
    first = finetune(tmp_path, *options)
    shutil.rmtree(first.folder)
    again = finetune(tmp_path, *options)
    assert again.record.training["resumed"] is True
    assert again.record.id == first.record.id


def test_the_same_command_says_that_it_is_done(finetune, whole, capsys):
    assert finetune(whole.folder.parent).record.id == whole.record.id
    assert capsys.readouterr().out.startswith("done before: the artifact is ")


@pytest.mark.parametrize("other", ["seed=3", "resume=null", "data.split_seed=5"])
def test_another_command_does_not_take_an_artifact_for_its_own(finetune, whole, other):
    with pytest.raises(ArtifactError, match="exists already; artifacts are not overwritten"):
        finetune(whole.folder.parent, other)


def test_a_damaged_artifact_is_not_said_to_be_done(finetune, whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "artifact")
    (tmp_path / "artifact" / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="exists already"):
        finetune(tmp_path)


@pytest.fixture
def left(whole, tmp_path) -> Path:
    """A folder in which a run had got as far as its last checkpoint."""
    shutil.copytree(whole.folder.parent / "checkpoints", tmp_path / "left" / "checkpoints")
    return tmp_path / "left"


@pytest.mark.parametrize("other", ["stage.learning_rate=2e-3", "model.max_length=30", "data.split_seed=5"])
def test_checkpoints_of_another_run_are_refused_in_a_line(finetune, left, other):
    before = (left / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(ConfigError, match=r"^resume: '\S+last\.ckpt' is of another run \(.*resume=null.*$"):
        finetune(left, other)
    assert (left / "checkpoints" / "last.ckpt").read_bytes() == before


def test_resume_null_begins_anew_and_other_loggers_are_no_other_run(finetune, left, whole):
    again = finetune(left, "logger=csv")
    assert again.record.training["resumed"] is True
    assert again.record.id == whole.record.id
    shutil.rmtree(again.folder)
    anew = finetune(left, "resume=null")
    assert anew.record.training["resumed"] is False
    assert anew.record.id == whole.record.id


def test_a_damaged_checkpoint_is_told_or_does_without(finetune, left, whole):
    last = left / "checkpoints" / "last.ckpt"
    shutil.copy(last, left / "checkpoints" / "interrupted.ckpt")
    (best,) = left.glob("checkpoints/best-*")
    last.write_bytes(b"damaged")
    assert finetune(left).record.id == whole.record.id
    shutil.rmtree(left / "artifact")
    (left / "checkpoints" / "interrupted.ckpt").unlink()
    best.unlink()
    last.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"^resume: '\S+last\.ckpt' is damaged; give another hydra\.run\.dir, or "):
        finetune(left)


def test_the_best_checkpoint_will_do_where_the_last_was_not_written_any_more(finetune, whole, left):
    (left / "checkpoints" / "last.ckpt").unlink()
    again = finetune(left)
    assert again.record.training["resumed"] is True
    assert again.record.id == whole.record.id


def test_the_later_of_two_checkpoints_is_taken(finetune, left):
    last, other = (left / "checkpoints" / name for name in ("last.ckpt", "interrupted.ckpt"))
    state = torch.load(last, weights_only=True)
    torch.save(state | {"global_step": 3, "callbacks": {}}, other)  # of nobody, but earlier
    os.utime(other, (time.time() + 60,) * 2)
    assert finetune(left).record.training["resumed"] is True


def test_which_checkpoint_is_taken_does_not_depend_on_when_it_was_copied(left):
    last, other = (left / "checkpoints" / name for name in (LAST, INTERRUPTED))
    shutil.copy(last, other)
    os.utime(other, (time.time() + 60,) * 2)
    identity = Identity(**torch.load(last, weights_only=True)["callbacks"]["Belonging"]["run"])
    assert newest(left / "checkpoints", identity) == last


def test_other_weights_by_the_same_name_are_another_run(finetune, base, tmp_path):
    encoder = tmp_path / "encoder"
    shutil.copytree(base / "encoder", encoder)
    options = (f"model.name_or_path={encoder}", "trainer.max_epochs=1")
    finetune(tmp_path / "run", *options)
    weights = load_file(encoder / "model.safetensors")
    save_file({name: 1.5 * weight for name, weight in weights.items()}, encoder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match="exists already; artifacts are not overwritten"):
        finetune(tmp_path / "run", *options)
