"""Weights and arithmetic in bf16: 16 fewer bits of fraction than fp32, with the same range."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class BF16(Quantizer):
    """Casts weights to bf16: half the bytes, fast on devices with native bf16."""

    runtime: ClassVar[str] = "pytorch"

    def check(self, config: "PretrainedConfig") -> None:
        import torch

        from chirplet.quantizer.graph.cast import check_type

        check_type(config, torch.bfloat16, "bf16")

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        import torch

        from chirplet.quantizer.graph.cast import Cast

        self.check(model.config)
        return Cast(model, torch.bfloat16)
