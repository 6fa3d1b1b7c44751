"""Fit a Lightning module and leave the best weights in it; what every stage that trains shares."""

import logging
import time
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
from chirplet.stage.fit.callbacks import training_callbacks, watches_validation
from chirplet.stage.fit.ddp_processes import processes
from chirplet.stage.fit.resume import newest
from chirplet.stage.fit.trial_report import TrialReport
from chirplet.stage.run.context import AUTO, Run
from chirplet.stage.run.identity import Identity, identity_of
from chirplet.sweep.trial.trial import current
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ConfigError, first_line
from chirplet.system.hardware import keep_freed_memory
from chirplet.system.run_lock import lock_output

# Lightning sets its own level when it is imported, so this must come after.
for name in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)


def checkpoint_folder(run: Run, resume: str | None) -> Path:
    """Where checkpoints go: a resumed run writes where it was, since the best one so far lies there."""
    return run.output_dir / "checkpoints" if resume in (None, AUTO) else Path(resume).expanduser().absolute().parent


def fit(
    run: Run,
    module: pl.LightningModule,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any] | None,
    loggers: Sequence[Logger],
    resume: str | None,
    reported: bool = True,
) -> dict[str, Any]:
    """Train `module`; on return it holds the best weights by validation.

    Without a `val_loader`, or without `CheckpointSettings` among the callbacks, it holds the last ones. In a sweep the
    trial's study is told of every validation, if this training is what the trial is about (`reported`). With several
    `trainer.devices` other processes train along.

    Returns:
        An account for the record: epochs, steps, seconds (of this session, validation included), whether it was
        resumed, precision, device, processes, threads of each, and which epoch was best by what.

    Raises:
        ConfigError: `resume` is no checkpoint of such a run, early stopping has no checkpoint to go back to, or the
            steps end before the first validation.
        Interrupted: Ctrl-C or SIGTERM came; a checkpoint was saved.
        ProcessError: another process that trained along ended.
    """
    if run.trainer.keep_freed_memory:
        keep_freed_memory()
    if val_loader is not None and any(watches_validation(entry) for entry in run.callbacks.values()):
        run.trainer.check_validated(len(train_loader))
    identity, folder = identity_of(run.inputs), checkpoint_folder(run, resume)
    start = _start(run, resume, folder, identity, module)
    trial = current() if reported else None
    saving = [entry.every_minutes for entry in run.callbacks.values() if isinstance(entry, CheckpointSettings)]
    interruption = Interruption(folder, saving[0] if saving else None)
    callbacks = [
        *training_callbacks(run, folder, val_loader is not None),
        Belonging(identity.plain(), run.trainer.devices),
        interruption,
    ]
    if trial is not None and val_loader is not None:
        callbacks.append(TrialReport(trial, run.objective))
    # Held already, but where `resume` lies in another run's folder.
    with lock_output(folder.parent), interruption:  # noqa: SIM117 - the others leave before the signals are given back
        with processes(run, module, train_loader, val_loader, start) as shard:
            trainer = run.trainer.build(callbacks, loggers, run.deterministic, run.output_dir, shard)
            started, threads = time.perf_counter(), torch.get_num_threads()
            trainer.fit(module, train_loader, val_loader, ckpt_path=start, weights_only=True)
    account: dict[str, Any] = {
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": time.perf_counter() - started,
        "resumed": start is not None,
        "precision": run.trainer.resolved_precision(),
        "device": run.trainer.device().type,
        "processes": run.trainer.devices,
        "threads": threads,
    }
    if interruption.asked:
        interruption.save_and_leave(trainer)
    return account | _best(trainer, module)


def _start(run: Run, resume: str | None, folder: Path, identity: Identity, module: pl.LightningModule) -> str | None:
    """The checkpoint to go on from, if there is one.

    Raises:
        ConfigError: it is not of such a run.
    """
    start = newest(folder, identity) if resume == AUTO else None if resume is None else Path(resume).expanduser()
    if start is None:
        return None
    before = _checked(start, module)["callbacks"].get(Belonging.__qualname__, {}).get(PROCESSES)
    if resume == AUTO:
        console().print(f"resumes from {shown_path(start)}", highlight=False)
    if before not in (None, run.trainer.devices):
        console().print(
            f"it was trained by {before} process{'es' * (before > 1)}, now by trainer.devices={run.trainer.devices}: "
            "the batches stay the same; random numbers of dropout and the order of sums differ from here on",
            highlight=False,
        )
    return str(start)


def _best(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    """Put the best weights into the module, where they were kept; which they were, for the record."""
    best = trainer.checkpoint_callback
    if not (isinstance(best, ModelCheckpoint) and best.monitor is not None and best.best_model_path):
        return {}
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])
    score = None if best.best_model_score is None else float(best.best_model_score)
    return {"best_epoch": state["epoch"] + 1, "monitor": best.monitor, "best_score": score}


def _checked(resume: Path, module: pl.LightningModule) -> dict[str, Any]:
    """What the checkpoint holds, if it is one of such a run.

    Raises:
        ConfigError: it is not.
    """
    try:
        state: dict[str, Any] = torch.load(resume, map_location="cpu", weights_only=True, mmap=True)
        found = set(state["state_dict"])
        complete = {"loops", "optimizer_states", "lr_schedulers", "callbacks"} <= set(state)
    except Exception as error:  # on a file that is no checkpoint torch raises exceptions of every kind
        raise ConfigError(f"resume: {str(resume)!r} is no checkpoint of a run ({first_line(error)})") from error
    if not complete or found != set(module.state_dict()):
        raise ConfigError(f"resume: {str(resume)!r} does not fit this run; give the overrides it was started with")
    return state


@contextmanager
def resumable_from(last: Path) -> Iterator[None]:
    """Let an error that says what could not be written name the checkpoint `last`, where it is there."""
    try:
        yield
    except ArtifactError as error:
        kept = f"; the same command with resume={last} needs no new training" if last.exists() else ""
        raise ArtifactError(f"{error}{kept}") from error
