"""Decide whether CUDA graphs carry out the training steps of a run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden

from chirplet.system.console import console
from chirplet.system.error import ConfigError

if TYPE_CHECKING:
    from chirplet.module.step.training_module import TrainingModule
    from chirplet.trainer import TrainerSettings

OF_GRADIENTS = ("on_before_zero_grad", "on_after_backward", "on_before_optimizer_step")
"""Hooks of callbacks that a captured step does not call, or calls when the gradients are gone."""


def captures(settings: "TrainerSettings", module: "TrainingModule", callbacks: Sequence[pl.Callback]) -> bool:
    """Whether the steps are captured. If they were to be, but cannot, a line says why.

    Raises:
        ConfigError: `cuda_graphs` is true, and they cannot be captured.
    """
    if not settings.wants_graphs():
        return False
    reason = _obstacle(settings, module, callbacks)
    if reason is None:
        return True
    if settings.cuda_graphs is True:
        raise ConfigError(f"trainer.cuda_graphs: got true, should be auto or false: {reason}")
    console().print(f"note      training without CUDA graphs, which is slower: {reason}", highlight=False)
    return False


def _obstacle(settings: "TrainerSettings", module: "TrainingModule", callbacks: Sequence[pl.Callback]) -> str | None:
    for callback in callbacks:
        if any(is_overridden(hook, callback, parent=pl.Callback) for hook in OF_GRADIENTS):
            return f"{type(callback).__name__} needs the gradients"
    return settings.against_graphs() or module.uncapturable
