"""Fit a Lightning module and load the best weights; shared by every stage that trains."""

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader

from chirplet.callback.checkpoint import CheckpointSettings
from chirplet.callback.lightning.interruption import PROCESSES, Belonging, Interruption
from chirplet.module.classifier import Classifier
from chirplet.stage.fit.callbacks import training_callbacks, watches_validation
from chirplet.stage.fit.capturing import captures
from chirplet.stage.fit.ddp_processes import processes
from chirplet.stage.fit.resume import newest
from chirplet.stage.fit.trial_report import TrialReport
from chirplet.stage.run.context import AUTO, Run
from chirplet.stage.run.identity import Identity, identity_of
from chirplet.sweep.trial.trial import current
from chirplet.system.command_line import argument
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ConfigError, first_line
from chirplet.system.hardware import keep_freed_memory
from chirplet.system.run_lock import lock_output

# After the imports, since Lightning sets the level when it is imported.
for name in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)


EXPECTED = (
    ".*does not have many workers",  # batches are put together from tokens, faster than another process sends them
    ".*`?(isinstance.treespec, )?LeafSpec.*is deprecated",
    ".*Checkpoint directory .* exists and is not empty",
    ".*You defined a `validation_step` but have no `val_dataloader`",
    ".*is smaller than the logging interval",
)
"""Warnings of Lightning and torch about what is meant to be so."""


def checkpoint_folder(run: Run, resume: str | None) -> Path:
    """The folder of checkpoints. A resumed run writes to the folder it resumes from, which has the best one so far."""
    return run.output_dir / "checkpoints" if resume in (None, AUTO) else Path(resume).expanduser().absolute().parent


def fit(
    run: Run,
    module: Classifier,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any] | None,
    loggers: Sequence[Logger],
    resume: str | None,
    reported: bool = True,
) -> dict[str, Any]:
    """Train `module` and load the best weights by validation into it.

    Without a `val_loader`, or without `CheckpointSettings` among the callbacks, the module has the last weights. In a
    sweep every validation is reported to the trial's study, unless `reported` is false. With several `trainer.devices`
    the training is distributed.

    Returns:
        For the record: epochs, steps, seconds (of this session, validation included), whether it was resumed,
        precision, device, processes, threads per process, captured lengths, and the best epoch with its monitor and
        score.

    Raises:
        ConfigError: `resume` is no checkpoint of this run, early stopping is configured without a checkpoint callback,
            or the steps end before the first validation.
        Interrupted: Ctrl-C or SIGTERM was received; a checkpoint was saved.
        ProcessError: a worker process exited.
    """
    if run.trainer.keep_freed_memory:
        keep_freed_memory()
    if val_loader is not None and any(watches_validation(entry) for entry in run.callbacks.values()):
        run.trainer.check_validated(len(train_loader))
    if module.slow_forward is not None:
        console().print(f"note      {module.slow_forward}", highlight=False)
    identity, folder = identity_of(run.inputs), checkpoint_folder(run, resume)
    start = _start(run, resume, folder, identity, module)
    interruption = _interruption(run, folder)
    callbacks = [
        *training_callbacks(run, folder, val_loader is not None),
        Belonging(identity.plain(), run.trainer.devices),
        interruption,
    ]
    trial = current() if reported else None
    if trial is not None and val_loader is not None:
        callbacks.append(TrialReport(trial, run.objective))
    module.captures = captures(run.trainer, module, callbacks)
    # Takes effect only if `resume` is in another run's folder; this run's folder is locked already.
    with lock_output(folder.parent), interruption:  # noqa: SIM117 - workers end before signal handlers are restored
        with processes(run, module, train_loader, val_loader, start) as shard:
            trainer = run.trainer.build(callbacks, loggers, run.deterministic, run.output_dir, len(train_loader), shard)
            started, threads = time.perf_counter(), torch.get_num_threads()
            with _expected_ignored():
                trainer.fit(module, train_loader, val_loader, ckpt_path=start, weights_only=True)
    seconds = time.perf_counter() - started
    if interruption.asked:
        interruption.save_and_leave(trainer)
    session = {"seconds": seconds, "resumed": start is not None, "threads": threads}
    return _circumstances(run, trainer, module) | session | _load_best(trainer, module)


def _circumstances(run: Run, trainer: pl.Trainer, module: Classifier) -> dict[str, Any]:
    """How long the training was, and how it was carried out."""
    graphs = {} if module.captured_lengths is None else {"cuda_graphs": {"lengths": module.captured_lengths}}
    return graphs | {
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "precision": run.trainer.resolved_precision(),
        "matmul_precision": run.trainer.matmul_precision,
        "device": run.trainer.device().type,
        "processes": run.trainer.devices,
    }


@contextmanager
def _expected_ignored() -> Iterator[None]:
    """Here, not at the start of the command: what is imported and started in between may change the filters."""
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        yield


def _interruption(run: Run, folder: Path) -> Interruption:
    """The callback that saves when the process is interrupted, and as often as the checkpoints' settings say."""
    saving = [entry.every_minutes for entry in run.callbacks.values() if isinstance(entry, CheckpointSettings)]
    return Interruption(folder, saving[0] if saving else None)


def _start(run: Run, resume: str | None, folder: Path, identity: Identity, module: pl.LightningModule) -> str | None:
    """The checkpoint to resume from, if there is one.

    Raises:
        ConfigError: it is not of this run.
    """
    start = newest(folder, identity) if resume == AUTO else None if resume is None else Path(resume).expanduser()
    if start is None:
        return None
    before = _checked(start, module)["callbacks"].get(Belonging.__qualname__, {}).get(PROCESSES)
    if resume == AUTO:
        console().print(f"resuming from {shown_path(start)}", highlight=False)
    if before not in (None, run.trainer.devices):
        console().print(
            f"the checkpoint was trained by {before} process{'es' * (before > 1)}, now trainer.devices="
            f"{run.trainer.devices}: batches stay the same; dropout and the order of floating-point sums differ",
            highlight=False,
        )
    return str(start)


def _load_best(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    """Load the best weights into the module, if they were saved. Returns the best epoch, its monitor and its score."""
    best = trainer.checkpoint_callback
    if not (isinstance(best, ModelCheckpoint) and best.monitor is not None and best.best_model_path):
        return {}
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])
    score = None if best.best_model_score is None else float(best.best_model_score)
    return {"best_epoch": state["epoch"] + 1, "monitor": best.monitor, "best_score": score}


def _checked(resume: Path, module: pl.LightningModule) -> dict[str, Any]:
    """The state in the checkpoint `resume`, checked against `module`.

    Raises:
        ConfigError: it is not a checkpoint of this run.
    """
    try:
        state: dict[str, Any] = torch.load(resume, map_location="cpu", weights_only=True, mmap=True)
        names = set(state["state_dict"])
        complete = {"loops", "optimizer_states", "lr_schedulers", "callbacks"} <= set(state)
    except Exception as error:  # torch raises exceptions of every kind for other files
        raise ConfigError(f"resume: {str(resume)!r} is no checkpoint of a run ({first_line(error)})") from error
    if not complete or names != set(module.state_dict()):
        raise ConfigError(f"resume: {str(resume)!r} does not fit this run; give the overrides it was started with")
    return state


@contextmanager
def resumable_from(last: Path) -> Iterator[None]:
    """Add the checkpoint `last`, if it exists, to errors about an artifact that could not be written."""
    try:
        yield
    except ArtifactError as error:
        advice = f"; the same command with {argument('resume', last)} needs no new training" if last.exists() else ""
        raise ArtifactError(f"{error}{advice}") from error
