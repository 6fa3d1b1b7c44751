"""The callback that keeps a moving average of the weights."""

from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EmaWeights(WeightAveraging):
    """Exponential moving average of the weights, updated after every optimizer step.

    The decay rises as min(decay, (1 + t) / (10 + t)) with step t, so that short runs are not held to their first
    weights (as in TensorFlow's `ExponentialMovingAverage`).
    """

    def __init__(self, decay: float) -> None:
        # Buffers are position ids, whole numbers that an average would spoil.
        super().__init__(use_buffers=False, multi_avg_fn=rising_average(decay))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the module also where a run, resumed from its end, had nothing to train."""
        self.on_train_end(trainer, pl_module)


def rising_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """An update `average = d * average + (1 - d) * current` with d = min(decay, (1 + t) / (10 + t))."""

    def update(averages: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        step = int(steps)
        get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averages, current, steps)

    return update
