"""Lightning callback for an exponential moving average of the weights."""

from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EmaWeights(WeightAveraging):
    """Exponential moving average of the weights, updated after every optimizer step.

    The decay is min(decay, (1 + t) / (10 + t)) at step t, so that the initial weights do not dominate in short runs (as
    in TensorFlow's `ExponentialMovingAverage`).
    """

    def __init__(self, decay: float) -> None:
        # The buffers are position ids, which must not be averaged.
        super().__init__(use_buffers=False, multi_avg_fn=rising_average(decay))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the average to the module, also when a run was resumed from its end and trained nothing."""
        self.on_train_end(trainer, pl_module)


def rising_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """An update `average = d * average + (1 - d) * current` with d = min(decay, (1 + t) / (10 + t))."""

    def update(averages: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        step = int(steps)
        get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averages, current, steps)

    return update
