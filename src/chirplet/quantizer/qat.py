"""Fine-tuning under the roundings of int8 (`chirplet.module.quantization_aware`), then `onnx_int8`.

Jacob et al. 2018, arXiv 1712.05877, section 3.
"""

from chirplet.config.schema import Count, Fraction, NonNegative, Positive
from chirplet.quantizer.base import RoundedTraining
from chirplet.quantizer.onnx_int8 import OnnxInt8


class QAT(OnnxInt8):
    """How the model is trained on before; the stage does it, with the run's trainer."""

    epochs: Count
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_fraction: Fraction
    batch_size: Count

    trains = True

    def training(self) -> RoundedTraining:
        settings = self.model_dump(exclude={"reduce_range"})
        return RoundedTraining(**settings, weight_steps=self.steps())
