"""Masks over single weights: which weights may go, which of them score lowest, how much goes at which step."""

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
    """Weights by name: of the layers' matrices, of all matrices that multiply, or of every module that has a weight.

    Biases are never pruned. `linear` has the pooler and the head too, `all` embeddings and LayerNorm besides.

    Raises:
        ModelError: `body` of a model of no known family.
    """
    body = set(family_of(model).layers(model).modules()) if scope == "body" else set()
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
        and (scope == "all" or (isinstance(module, nn.Linear) and (scope == "linear" or module in body)))
    }


def global_magnitude_mask(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Masks that leave out the lowest scores of all weights together, as many as `sparsity` says, rounded.

    Of equal scores those that come last go first.
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    dropped = round(sparsity * len(flat))
    kept = torch.ones_like(flat, dtype=torch.bool)
    if dropped:
        threshold = flat.kthvalue(dropped).values
        kept = flat > threshold
        level = (flat == threshold).nonzero().squeeze(1)
        kept[level[: len(flat) - dropped - int(kept.sum())]] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


def lowest_of_rows(score: Tensor, present: Tensor, share: float) -> Tensor:
    """A mask (rows, columns) of what is `present` but for each row's lowest scores, a `share` of these, rounded."""
    left = present.sum(dim=1, keepdim=True)
    gone = score.shape[1] - left + (share * left.double()).round()
    rank = score.masked_fill(~present, float("-inf")).argsort(dim=1).argsort(dim=1)
    return rank >= gone


def zeros_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Masks of the layers' weights where some are zero: what an earlier pruning left, so that it stays."""
    return {name: weight != 0 for name, weight in prunable(model, "body").items() if bool((weight == 0).any())}


@contextmanager
def zeros_kept(model: PreTrainedModel) -> Iterator[None]:
    """While the block lasts, training moves none of `zeros_of`: they get no gradient, and nothing else moves a zero."""
    weights = dict(model.named_parameters())
    handles = [weights[name].register_hook(partial(_left, mask)) for name, mask in zeros_of(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _left(mask: Tensor, gradient: Tensor) -> Tensor:
    return gradient * mask.to(gradient.device)  # the model may be trained elsewhere than the masks were made


def sparsity_of(weights: Mapping[str, Tensor]) -> float:
    """The share of zeros in all weights together."""
    total = sum(weight.numel() for weight in weights.values())
    return 1 - sum(int(weight.count_nonzero()) for weight in weights.values()) / total


def takes_back(weights: Mapping[str, Tensor], sparsity: float) -> bool:
    """Whether more of the weights are zero already; the few that are zero by chance do not count."""
    present = sparsity_of(weights)
    return sparsity < present and round(present, 4) > sparsity


def check_sparsity(weights: Mapping[str, Tensor], sparsity: float) -> None:
    """See that pruning to `sparsity` takes nothing back.

    Raises:
        PruningError: more of the weights are zero already.
    """
    if takes_back(weights, sparsity):
        raise PruningError(
            f"pruner.sparsity: got {sparsity:g}, but {sparsity_of(weights):.4g} of these weights are zero already and "
            "stay so; should be more than that"
        )


def check_room(weights: Mapping[str, Tensor], sparsity: float) -> None:
    """See that at `sparsity` each weight can keep one of its numbers, where nobody knows yet which.

    Raises:
        PruningError: fewer are left than there are weights.
    """
    total = sum(weight.numel() for weight in weights.values())
    left = total - round(sparsity * total)
    if left < len(weights):
        raise PruningError(
            f"pruner.sparsity: got {sparsity:g}, which leaves {left} of {total:,} numbers for {len(weights)} matrices; "
            "should be less"
        )


def check_alive(masks: Mapping[str, Tensor], sparsity: float) -> None:
    """See that every weight keeps some of its numbers.

    Raises:
        PruningError: one has none left; names it.
    """
    gone = [name.removesuffix(".weight") for name, mask in masks.items() if not bool(mask.any())]
    if gone:
        raise PruningError(
            f"pruner.sparsity: got {sparsity:g}, which leaves nothing of {gone[0]}"
            f"{f' and {len(gone) - 1} others' if gone[1:] else ''}; should be less"
        )


@torch.no_grad()
def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set to zero what the masks leave out; infinite and undefined numbers too."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)


@contextmanager
def masked(model: PreTrainedModel, masks: Mapping[str, Tensor]) -> Iterator[PreTrainedModel]:
    """The model as the masks would leave it, and afterwards as it was."""
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
    """Sparsity that rises over the first `steps` optimizer steps, renewed every `every` of them.

    Zhu & Gupta 2017 (arXiv 1710.01878), equation 1: s = s_f + (s_i − s_f)(1 − t/T)³, quick while there is much that
    nobody misses, slow near the end.
    """

    initial: float
    final: float
    steps: int
    every: int

    def sparsity(self, step: int) -> float:
        """What is to be zero at that step, a share."""
        left = 1 - min(step, self.steps) / self.steps if self.steps else 0.0
        return self.final + (self.initial - self.final) * left**3

    def is_due(self, step: int) -> bool:
        """Whether masks are renewed before that step."""
        return step == self.steps or (step < self.steps and step % self.every == 0)
