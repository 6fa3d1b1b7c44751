"""Weights and arithmetic in bf16: eight bits of fraction less, and the range of fp32."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BF16(Quantizer):
    """Half the bytes; fast where the device multiplies bf16 natively."""

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        import torch

        from chirplet.quantizer.graph.cast import Cast

        return Cast(model, torch.bfloat16)
