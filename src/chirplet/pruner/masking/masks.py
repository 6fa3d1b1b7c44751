"""Masks over single weights: the prunable weights, masks by score, and sparsity schedules."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from chirplet.model.family import family_of
from chirplet.system.error import PruningError

Scope = Literal["body", "linear", "all"]


def prunable(model: PreTrainedModel, scope: Scope) -> dict[str, nn.Parameter]:
    """The prunable weights by name.

    `body` has the linear layers of the encoder's layers, `linear` those of pooler and head too, `all` embeddings and
    LayerNorm as well. Biases are never pruned.

    Raises:
        ModelError: `scope` is `body` and the model is of no known family.
    """
    layers = family_of(model).layers(model) if scope == "body" else []
    body = {module for layer in layers for module in layer.modules()}
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
        and (scope == "all" or (isinstance(module, nn.Linear) and (scope == "linear" or module in body)))
    }


def global_magnitude_mask(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Masks without the lowest scores of all weights together, a share `sparsity` of them, rounded.

    Of equal scores the last ones are removed first.
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    dropped = round(sparsity * len(flat))
    kept = torch.ones_like(flat, dtype=torch.bool)
    if dropped:
        # On a GPU `kthvalue`, whose indices may vary, is refused in a deterministic run.
        threshold = flat.kthvalue(dropped).values if flat.is_cpu else flat.sort().values[dropped - 1]
        kept = flat > threshold
        level = (flat == threshold).nonzero().squeeze(1)
        kept[level[: len(flat) - dropped - int(kept.sum())]] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


def lowest_of_rows(score: Tensor, present: Tensor, share: float) -> Tensor:
    """The mask `present` (rows, columns) without the lowest scores of each row, a `share` of its weights, rounded."""
    left = present.sum(dim=1, keepdim=True)
    gone = score.shape[1] - left + (share * left.double()).round()
    rank = score.masked_fill(~present, float("-inf")).argsort(dim=1).argsort(dim=1)
    return rank >= gone


def zeros_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Masks of the encoder layers' weights that have zeros, to preserve the zeros of an earlier pruning."""
    return {name: weight != 0 for name, weight in prunable(model, "body").items() if bool((weight == 0).any())}


@contextmanager
def zeros_kept(model: PreTrainedModel) -> Iterator[None]:
    """Keep the zeros of `zeros_of` at zero in training within the block, by masking their gradients."""
    weights = dict(model.named_parameters())
    handles = [weights[name].register_hook(partial(_masked_gradient, mask)) for name, mask in zeros_of(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _masked_gradient(mask: Tensor, gradient: Tensor) -> Tensor:
    return gradient * mask.to(gradient.device)  # the model may have been moved since


def sparsity_of(weights: Mapping[str, Tensor]) -> float:
    """The share of zeros in all weights together."""
    total = sum(weight.numel() for weight in weights.values())
    return 1 - sum(int(weight.count_nonzero()) for weight in weights.values()) / total


def takes_back(weights: Mapping[str, Tensor], sparsity: float) -> bool:
    """Whether the weights are already sparser than `sparsity`. A few accidental zeros are ignored."""
    present = sparsity_of(weights)
    return sparsity < present and round(present, 4) > sparsity


def check_sparsity(weights: Mapping[str, Tensor], sparsity: float) -> None:
    """Check that the weights are not already sparser than `sparsity`.

    Raises:
        PruningError: they are, or there are none.
    """
    if not weights:
        raise PruningError(
            "pruner.scope: holds no linear layer of this model; should be all with pruner=magnitude, or choose another "
            "pruner"
        )
    if takes_back(weights, sparsity):
        raise PruningError(
            f"pruner.sparsity: got {sparsity:g}, should be at least {sparsity_of(weights):.4g}, the share of these "
            "weights that is zero already"
        )


def check_room(weights: Mapping[str, Tensor], sparsity: float) -> None:
    """Check that `sparsity` leaves at least one number per matrix, for methods that choose the weights later.

    Raises:
        PruningError: fewer numbers are left than there are matrices.
    """
    total = sum(weight.numel() for weight in weights.values())
    left = total - round(sparsity * total)
    if left < len(weights):
        raise PruningError(
            f"pruner.sparsity: got {sparsity:g}, which leaves {left} of {total:,} numbers for {len(weights)} matrices; "
            "should be less"
        )


def check_alive(masks: Mapping[str, Tensor], sparsity: float) -> None:
    """Check that every mask keeps some weights.

    Raises:
        PruningError: a mask keeps none. The message names the layer.
    """
    gone = [name.removesuffix(".weight") for name, mask in masks.items() if not bool(mask.any())]
    if gone:
        raise PruningError(
            f"pruner.sparsity: got {sparsity:g}, which leaves nothing of {gone[0]}"
            f"{f' and {len(gone) - 1} others' if gone[1:] else ''}; should be less"
        )


@torch.no_grad()
def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the weights outside the masks to zero, infinities and NaNs included."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)


@contextmanager
def masked(model: PreTrainedModel, masks: Mapping[str, Tensor]) -> Iterator[PreTrainedModel]:
    """Apply the masks within the block, and restore the weights afterwards."""
    weights = dict(model.named_parameters())
    before = {name: weights[name].detach().clone() for name in masks}
    try:
        apply_masks(weights, masks)
        yield model
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                weights[name].copy_(weight)


@dataclass(frozen=True)
class Ramp:
    """Sparsity that rises over the first `steps` optimizer steps, updated every `every` steps.

    Zhu & Gupta 2017 (arXiv 1710.01878), equation 1: s = s_f + (s_i − s_f)(1 − t/T)³, which rises quickly while many
    weights are redundant, and slowly near the end.
    """

    initial: float
    final: float
    steps: int
    every: int

    def sparsity(self, step: int) -> float:
        """The sparsity at a step, from 0 to 1."""
        left = 1 - min(step, self.steps) / self.steps if self.steps else 0.0
        return self.final + (self.initial - self.final) * left**3

    def is_due(self, step: int) -> bool:
        """Whether masks are updated before a step."""
        return step == self.steps or (step < self.steps and step % self.every == 0)
