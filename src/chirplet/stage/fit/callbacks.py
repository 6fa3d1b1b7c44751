"""Build a training's callbacks from their settings."""

from pathlib import Path

import pytorch_lightning as pl

from chirplet.callback.base import CallbackSettings
from chirplet.callback.checkpoint import CheckpointSettings
from chirplet.callback.early_stopping import EarlyStoppingSettings
from chirplet.callback.lightning.interruption import RandomState
from chirplet.config.schema import Foreign
from chirplet.stage.run.context import Run
from chirplet.system.error import ConfigError


def watches_validation(entry: CallbackSettings | Foreign) -> bool:
    """Whether a callback needs validation results."""
    return isinstance(entry, CallbackSettings) and entry.needs_validation


def training_callbacks(run: Run, folder: Path, validates: bool) -> list[pl.Callback]:
    """The callbacks of `run`, which write to `folder`; only those that need no validation if nothing `validates`.

    Raises:
        ConfigError: early stopping is configured without a checkpoint callback.
    """
    settings = list(run.callbacks.values())
    checkpoints = [entry for entry in settings if isinstance(entry, CheckpointSettings)]
    if validates and not checkpoints and any(isinstance(entry, EarlyStoppingSettings) for entry in settings):
        raise ConfigError(
            "callback: got early_stopping without checkpoint, should have both, or the last weights are used instead "
            "of the best; callback=default has both"
        )
    built: list[pl.Callback] = [RandomState()]
    for entry in settings:
        if isinstance(entry, Foreign):
            built.append(entry.build(pl.Callback))
        elif validates or not entry.needs_validation:
            built.append(entry.build(folder))
    # After the monitoring checkpoints: Lightning takes the first one as `trainer.checkpoint_callback`.
    return built + [entry.build_last(folder) for entry in checkpoints]
