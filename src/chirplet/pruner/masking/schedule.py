"""Masks over the steps of a recovery: held as they are, rising with a schedule, or by scores that are learnt."""

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
    """Keeps weights of `model` at zero where `masks` leave them out; both are saved with a checkpoint."""

    def __init__(self, model: "PreTrainedModel", masks: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weights = {name: parameter for name, parameter in model.named_parameters() if name in masks}
        for name, mask in masks.items():
            self.register_buffer(_buffer(name), mask)

    def masks(self) -> dict[str, Tensor]:
        """The masks as they are now."""
        return {name: self.get_buffer(_buffer(name)) for name in self.weights}

    def renew(self, masks: Mapping[str, Tensor]) -> None:
        """Take other masks for the same weights."""
        for name, mask in masks.items():
            self.get_buffer(_buffer(name)).copy_(mask)

    def groups(self) -> list[dict[str, Any]]:
        """What there is to learn beside the model, as AdamW's parameter groups."""
        return []

    def before_step(self, step: int) -> None:
        """Called before each optimizer step, with the number of those done."""

    @torch.no_grad()
    def hold(self) -> None:
        """Called after each optimizer step: what it moved behind the masks goes back to zero."""
        # On a CPU this takes a third of the time that filling takes; zeros may have signs until `finish`.
        for name, weight in self.weights.items():
            weight.mul_(self.get_buffer(_buffer(name)))

    def finish(self) -> None:
        """Leave the model as it is to be saved."""
        apply_masks(self.weights, self.masks())


class Rising(Masking):
    """Masks that leave out more and more.

    Args:
        model: its weights are scored as they are at the time.
        masks: those to begin with.
        remask: gives the masks for a sparsity.
        ramp: sparsity by step.
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
        # Accumulated batches come with the same step.
        if self.ramp.is_due(step) and step != self.renewed:
            self.renewed = step
            self.renew(self.remask(self.ramp.sparsity(step)))
            self.hold()


class Moving(Masking):
    """Masks by scores that are learnt beside the weights, which all stay until `finish`."""

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
        """What stands before each weight."""
        return {name: module.parametrizations.weight[0] for name, module in self.modules_by_name.items()}  # type: ignore[union-attr,index,misc]

    def masks(self) -> dict[str, Tensor]:
        return {name: scored.mask for name, scored in self.scored().items()}

    def groups(self) -> list[dict[str, Any]]:
        scores = [scored.scores for scored in self.scored().values()]
        return [{"params": scores, "lr": self.score_learning_rate, "weight_decay": 0.0}]

    def before_step(self, step: int) -> None:
        if self.ramp.is_due(step):
            scored, sparsity = self.scored(), self.ramp.sparsity(step)
            masks = global_magnitude_mask({name: one.scores.detach() for name, one in scored.items()}, sparsity)
            check_alive(masks, sparsity)
            for name, one in scored.items():
                one.mask.copy_(masks[name])

    def hold(self) -> None:
        """Nothing: what is left out may still come back."""

    def finish(self) -> None:
        masks = self.masks()
        for module in self.modules_by_name.values():
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        # Products with a mask have signs, zeros that are to be saved have none.
        apply_masks({name: module.get_parameter("weight") for name, module in self.modules_by_name.items()}, masks)


class ScoredWeight(nn.Module):
    """A weight behind the mask of its scores, both of its shape; what the first mask leaves out never comes back."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        scores = torch.zeros_like(mask, dtype=torch.float32)
        self.scores = nn.Parameter(scores.masked_fill_(~mask, float("-inf")))
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, zero where the mask leaves it out."""
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
    """Buffers may not have dots in their names."""
    return name.replace(".", "/")
