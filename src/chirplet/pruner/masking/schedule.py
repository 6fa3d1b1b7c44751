"""Masks during a recovery: fixed, with rising sparsity, or by learnt scores."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.utils import parametrize

from chirplet.pruner.masking.masks import Ramp, apply_masks, check_alive, global_magnitude_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Masking(nn.Module):
    """Keeps the weights of `model` outside `masks` at zero. The masks are saved in checkpoints."""

    def __init__(self, model: "PreTrainedModel", masks: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weights = {name: parameter for name, parameter in model.named_parameters() if name in masks}
        for name, mask in masks.items():
            self.register_buffer(_buffer(name), mask)

    def masks(self) -> dict[str, Tensor]:
        """The current masks."""
        return {name: self.get_buffer(_buffer(name)) for name in self.weights}

    def renew(self, masks: Mapping[str, Tensor]) -> None:
        """Replace the masks of the same weights."""
        for name, mask in masks.items():
            self.get_buffer(_buffer(name)).copy_(mask)

    def groups(self) -> list[dict[str, Any]]:
        """AdamW's parameter groups for learnt scores."""
        return []

    def before_step(self, step: int) -> None:
        """Called before each optimizer step, with the number of steps done."""

    @torch.no_grad()
    def hold(self) -> None:
        """Called after each optimizer step. Sets weights outside the masks back to zero."""
        # On a CPU a product takes a third of the time of `masked_fill_`. Zeros may have signs until `finish`.
        for name, weight in self.weights.items():
            weight.mul_(self.get_buffer(_buffer(name)))

    def finish(self) -> None:
        """Called before the model is saved. Applies the masks to its weights."""
        apply_masks(self.weights, self.masks())


class Rising(Masking):
    """Masks with rising sparsity.

    Args:
        model: the model to prune.
        masks: the initial masks.
        remask: computes the masks for a sparsity from the current weights.
        ramp: the sparsity of each step.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        masks: Mapping[str, Tensor],
        remask: Callable[[float], Mapping[str, Tensor]],
        ramp: Ramp,
    ) -> None:
        super().__init__(model, masks)
        self.remask = remask
        self.ramp = ramp
        self.renewed = -1

    def before_step(self, step: int) -> None:
        # Accumulated batches have the same step.
        if self.ramp.is_due(step) and step != self.renewed:
            self.renewed = step
            self.renew(self.remask(self.ramp.sparsity(step)))
            self.hold()


class Moving(Masking):
    """Masks by learnt scores. All weights are kept until `finish`."""

    def __init__(
        self, model: "PreTrainedModel", masks: Mapping[str, Tensor], score_learning_rate: float, ramp: Ramp
    ) -> None:
        super().__init__(model, {})
        self.ramp = ramp
        self.score_learning_rate = score_learning_rate
        self.modules_by_name = {name: model.get_submodule(name.removesuffix(".weight")) for name in masks}
        for name, module in self.modules_by_name.items():
            parametrize.register_parametrization(module, "weight", ScoredWeight(masks[name]))

    def scored(self) -> "dict[str, ScoredWeight]":
        """The parametrization of each weight."""
        return {name: module.parametrizations.weight[0] for name, module in self.modules_by_name.items()}  # type: ignore[union-attr,index,misc]

    def masks(self) -> dict[str, Tensor]:
        return {name: scored.mask for name, scored in self.scored().items()}

    def groups(self) -> list[dict[str, Any]]:
        scores = [scored.scores for scored in self.scored().values()]
        return [{"params": scores, "lr": self.score_learning_rate, "weight_decay": 0.0}]

    def before_step(self, step: int) -> None:
        if self.ramp.is_due(step):
            scored, sparsity = self.scored(), self.ramp.sparsity(step)
            masks = global_magnitude_mask({name: weight.scores.detach() for name, weight in scored.items()}, sparsity)
            check_alive(masks, sparsity)
            for name, weight in scored.items():
                weight.mask.copy_(masks[name])

    def hold(self) -> None:
        """Do nothing, since masked weights may come back."""

    def finish(self) -> None:
        masks = self.masks()
        for module in self.modules_by_name.values():
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        # Products with a mask may be -0; saved zeros have no sign.
        apply_masks({name: module.get_parameter("weight") for name, module in self.modules_by_name.items()}, masks)


class ScoredWeight(nn.Module):
    """Masks a weight by its scores, both of its shape. Weights outside the initial mask never come back."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        scores = torch.zeros_like(mask, dtype=torch.float32)
        self.scores = nn.Parameter(scores.masked_fill_(~mask, float("-inf")))
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, zero outside the mask."""
        kept: Tensor = _Straight.apply(weight, self.scores, self.mask)  # type: ignore[no-untyped-call]
        return kept


class _Straight(Function):
    """W ⊙ M forward; backward, ∂L/∂W' ⊙ M for W and ∂L/∂W' ⊙ W for the scores."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(weight, mask)
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, mask = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * mask, gradient * weight, None


def _buffer(name: str) -> str:
    """The name without dots, which names of buffers may not have."""
    return name.replace(".", "/")
