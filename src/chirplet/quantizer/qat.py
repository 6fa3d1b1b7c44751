"""Quantization-aware training (`chirplet.module.quantization_aware`), then `onnx_int8`.

Jacob et al. 2018, arXiv 1712.05877, section 3.
"""

from chirplet.config.schema import Count, Fraction, NonNegative, Positive
from chirplet.quantizer.base import RoundedTraining
from chirplet.quantizer.onnx_int8 import OnnxInt8


class QAT(OnnxInt8):
    """Settings of the training, which the stage does with the run's trainer."""

    epochs: Count
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_fraction: Fraction
    batch_size: Count

    @property
    def training(self) -> RoundedTraining:
        settings = self.model_dump(exclude={"reduce_range"})
        return RoundedTraining(**settings, weight_steps=self.steps())
