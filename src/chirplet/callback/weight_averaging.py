"""Exponential moving average of the weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.callback.base import CallbackSettings
from chirplet.config.schema import Fraction

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import WeightAveraging


class WeightAveragingSettings(CallbackSettings):
    """Exponential moving average of the weights, which is validated and saved instead of the last weights."""

    decay: Fraction

    def build(self, folder: Path) -> "WeightAveraging":
        """Build the callback; the average is stored on the model's device."""
        from chirplet.callback.lightning.weight_averaging import EmaWeights

        return EmaWeights(self.decay)
