"""Quantization-aware training: linear layers compute with rounded weights and inputs; gradients ignore the rounding.

Jacob et al. 2018 (arXiv 1712.05877), with the scales of dynamic int8: symmetric weights with a scale per output
channel, asymmetric activations with a scale per batch. ONNX Runtime rounds less in the last layer, where it computes
the attention of the first token in fp32 without keys and values (`Int8.attend_first`).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle


class RoundedWeight(nn.Module):
    """Rounds a weight (out, in) to `steps` steps from zero to the largest of each output; gradients pass unchanged."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, weight: Tensor) -> Tensor:
        scale = (weight.detach().abs().amax(dim=1) / self.steps).clamp(min=1e-12)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -self.steps, self.steps)


def round_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Round a layer's input to uint8: 255 steps from its smallest to its largest value, with zero exact."""
    (states,) = inputs
    values = states.detach().float()
    low, high = values.amin().clamp(max=0.0), values.amax().clamp(min=0.0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    zero_point = (-low / scale).round().clamp(0, 255).to(torch.int32)
    rounded = torch.fake_quantize_per_tensor_affine(states.float(), scale, zero_point, 0, 255)
    return (rounded.to(states.dtype),)


class QuantizationAware:
    """A context manager that rounds weights and inputs of a model's linear layers; `steps` as in `RoundedWeight`."""

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
        self.steps = steps
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> "QuantizationAware":
        for linear in self.linears:
            parametrize.register_parametrization(linear, "weight", RoundedWeight(self.steps))
            self.handles.append(linear.register_forward_pre_hook(round_input))
        return self

    def __exit__(self, *_: Any) -> None:
        for linear in self.linears:
            # Keep the unrounded weights: the quantizer rounds them.
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
        for handle in self.handles:
            handle.remove()
