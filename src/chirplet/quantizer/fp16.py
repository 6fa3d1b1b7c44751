"""Weights and arithmetic in fp16: more fraction than bf16, and a range that ends at 65,504."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.quantizer.base import Calibration, Quantization, Quantizer
from chirplet.system.error import QuantizationError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FP16(Quantizer):
    """Half the bytes; for GPUs. Most CPUs compute fp16 more slowly than fp32."""

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        import torch

        from chirplet.quantizer.graph.cast import Cast

        largest = max(float(parameter.detach().abs().max()) for parameter in model.parameters())
        if largest > torch.finfo(torch.float16).max:
            raise QuantizationError(f"quantizer: fp16 ends at 65,504, a weight is {largest:.3g}; bf16 has the range")
        return Cast(model, torch.float16)
