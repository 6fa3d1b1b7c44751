"""Fit a Lightning module and leave the best weights in it; what every stage that trains shares."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader

from chirplet.callback.checkpoint import CheckpointSettings
from chirplet.callback.durable import Interruption, RandomState
from chirplet.config import Foreign
from chirplet.error import ConfigError
from chirplet.stage.base import Run

# Lightning sets its own level when it is imported, so this must come after.
for name in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)


def seed_everything(run: Run) -> None:
    """Seed every generator and set the number of threads."""
    pl.seed_everything(run.seed, verbose=False)
    if run.trainer.threads is not None:
        torch.set_num_threads(run.trainer.threads)


def fit(
    run: Run,
    module: pl.LightningModule,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any] | None,
    loggers: Sequence[Logger],
    resume: str | None,
) -> dict[str, Any]:
    """Train `module`; on return it holds the best weights by validation, or the last ones without a `val_loader`.

    Returns:
        An account for the record: epochs, steps, seconds, tweets per second, precision, device, which epoch was best.

    Raises:
        ConfigError: `resume` is no checkpoint of such a run.
        Interrupted: Ctrl-C or SIGTERM came; a checkpoint was saved.
    """
    # A resumed run writes where it was: the best checkpoint so far lies there.
    folder = run.output_dir / "checkpoints" if resume is None else Path(resume).expanduser().absolute().parent
    callbacks = _callbacks(run, folder, val_loader is not None)
    trainer = run.trainer.build(callbacks, loggers, run.deterministic, run.output_dir)
    started = time.perf_counter()
    try:
        trainer.fit(module, train_loader, val_loader, ckpt_path=resume, weights_only=True)
    except (KeyError, RuntimeError) as error:
        if resume is None:
            raise
        raise ConfigError(f"resume: {resume!r} does not fit this run ({_first_line(error)})") from error
    seconds = time.perf_counter() - started
    account: dict[str, Any] = {
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": seconds,
        "precision": run.trainer.resolved_precision(),
        "device": run.trainer.device().type,
        "threads": torch.get_num_threads(),
    }
    best = trainer.checkpoint_callback
    if val_loader is not None and isinstance(best, ModelCheckpoint) and best.best_model_path:
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
        account |= {"best_epoch": state["epoch"] + 1, "monitor": best.monitor}
        account["best_score"] = None if best.best_model_score is None else float(best.best_model_score)
    return account


def _callbacks(run: Run, folder: Path, validates: bool) -> list[pl.Callback]:
    built: list[pl.Callback] = [Interruption(folder), RandomState()]
    for settings in run.callbacks.values():
        if isinstance(settings, Foreign):
            built.append(settings.build())
        elif isinstance(settings, CheckpointSettings) and not validates:
            built.append(settings.build_unmonitored(folder))
        elif validates or not settings.needs_validation:
            built.append(settings.build(folder))
    return built


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
