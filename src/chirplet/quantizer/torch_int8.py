"""PyTorch's dynamic int8: weights with a scale per output or matrix; a layer's input with a scale per batch.

The original study used one scale per matrix, where a row of large weights reduces the precision of the others.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class TorchInt8(Quantizer):
    """Quantizes linear layers, with a scale per matrix (`per_tensor`) or per output (`per_channel`)."""

    runtime: ClassVar[str] = "pytorch_int8"

    weights: Literal["per_channel", "per_tensor"]

    def check(self, config: "PretrainedConfig") -> None:
        from chirplet.quantizer.trial.small_model import trial_model

        model = trial_model(config)
        if model is not None:
            _TorchInt8(model, per_channel=True)

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        return _TorchInt8(model, self.weights == "per_channel")


class _TorchInt8(Quantization):
    def __init__(self, model: "PreTrainedModel", per_channel: bool) -> None:
        from torch import nn

        from chirplet.quantizer.trial.small_model import check_share

        self.model = model
        self.per_channel = per_channel
        self.linears: dict[str, nn.Linear] = {
            name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)
        }
        check_share(model, self.linears)
        self.layers = tuple(self.linears)
        self.facts: dict[str, Any] = {"weights": "int8", "activations": "uint8, one scale a batch"}

    def write(self, folder: Path, excluded: Collection[str]) -> None:
        from chirplet.runtime.pytorch_int8 import save_int8

        scales = {
            name: scale_of(linear.weight.detach(), self.per_channel)
            for name, linear in self.linears.items()
            if name not in excluded
        }
        save_int8(self.model, scales, folder)


def scale_of(weight: "Tensor", per_channel: bool) -> "Tensor":
    """The size of one of 127 steps to the largest weight; shape (), or (out,) if `per_channel`."""
    import torch

    largest = weight.abs().amax(dim=1) if per_channel else weight.abs().max()
    # A row of zeros must not be divided by a scale of zero.
    return (largest / 127).clamp(min=torch.finfo(torch.float32).tiny * 2**20)
