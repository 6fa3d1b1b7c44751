"""The callbacks of a training, built from their settings."""

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
    """Whether a callback needs the results of validations."""
    return isinstance(entry, CallbackSettings) and entry.needs_validation


def training_callbacks(run: Run, folder: Path, validates: bool) -> list[pl.Callback]:
    """Those of `run`, without the ones that need a validation where there is none; they write to `folder`.

    Raises:
        ConfigError: early stopping has no checkpoint to go back to.
    """
    settings = list(run.callbacks.values())
    checkpoints = [entry for entry in settings if isinstance(entry, CheckpointSettings)]
    if validates and not checkpoints and any(isinstance(entry, EarlyStoppingSettings) for entry in settings):
        raise ConfigError(
            "callback: early_stopping without checkpoint would keep the weights of the worst epoch; "
            "callback=default has both"
        )
    built: list[pl.Callback] = [RandomState()]
    for entry in settings:
        if isinstance(entry, Foreign):
            built.append(entry.build(pl.Callback))
        elif validates or not entry.needs_validation:
            built.append(entry.build(folder))
    # After those that choose: Lightning calls the first one the trainer's checkpoint callback.
    return built + [entry.build_last(folder) for entry in checkpoints]
