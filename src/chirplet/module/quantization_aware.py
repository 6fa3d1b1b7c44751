"""Training that feels int8: linear layers compute with rounded weights and inputs, and learn as if they had not.

Jacob et al. 2018 (arXiv 1712.05877), with the scales that dynamic int8 takes: weights one an output channel and
symmetric, activations one a batch and asymmetric. In the last layer ONNX Runtime rounds less than this does: keys and
values are computed from the first token's query in fp32 (`Int8.attend_first`).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle


class RoundedWeight(nn.Module):
    """A weight (out, in) as int8 has it, `steps` to the largest of each output; gradients pass unchanged."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, weight: Tensor) -> Tensor:
        scale = (weight.detach().abs().amax(dim=1) / self.steps).clamp(min=1e-12)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -self.steps, self.steps)


def round_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A layer's input as uint8 would have it, 255 steps from its smallest to its largest value, zero among them."""
    (states,) = inputs
    values = states.detach().float()
    low, high = values.amin().clamp(max=0.0), values.amax().clamp(min=0.0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    zero_point = (-low / scale).round().clamp(0, 255).to(torch.int32)
    rounded = torch.fake_quantize_per_tensor_affine(states.float(), scale, zero_point, 0, 255)
    return (rounded.to(states.dtype),)


class QuantizationAware:
    """Turns the rounding of a model's linear layers on, and off again; `steps` as `RoundedWeight` takes them."""

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
            # What was learnt stays as it is: whoever quantizes the model rounds it.
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
        for handle in self.handles:
            handle.remove()
