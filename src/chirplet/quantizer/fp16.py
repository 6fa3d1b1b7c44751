"""Weights and arithmetic in fp16: more bits of fraction than bf16, with a range up to 65,504."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from chirplet.quantizer.base import Calibration, Quantization, Quantizer
from chirplet.system.error import QuantizationError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class FP16(Quantizer):
    """Casts weights to fp16: half the bytes, for GPUs. Most CPUs compute fp16 more slowly than fp32."""

    runtime: ClassVar[str] = "pytorch"

    def check(self, config: "PretrainedConfig") -> None:
        import torch

        from chirplet.quantizer.graph.cast import check_type

        check_type(config, torch.float16, "fp16")

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        import torch

        from chirplet.quantizer.graph.cast import Cast

        self.check(model.config)
        largest = max(float(parameter.detach().abs().max()) for parameter in model.parameters())
        if largest > torch.finfo(torch.float16).max:
            raise QuantizationError(
                f"quantizer: got fp16, but a weight is {largest:.3g}, should be at most 65,504; quantizer=bf16 has the "
                "range of fp32"
            )
        return Cast(model, torch.float16)
