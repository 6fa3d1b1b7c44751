"""Pruning of single weights by a score: what magnitude and wanda share."""

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Literal

from chirplet.config.schema import Count, Fraction
from chirplet.pruner.base import Evidence, Masks, Pruned, Pruner

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from chirplet.pruner.masking.schedule import Masking


class ScoredPruner(Pruner, ABC):
    """Sets the weights with the lowest scores to zero, `sparsity` of all in `scope`.

    `one_shot` does it at once. `cubic` raises sparsity over the first `ramp_fraction` of the recovery's steps and
    scores anew every `every_steps`. Weights that are zero before stay zero and count.
    """

    sparsity: Fraction
    scope: Literal["body", "linear", "all"]
    schedule: Literal["one_shot", "cubic"]
    ramp_fraction: Fraction
    every_steps: Count

    @property
    def trained(self) -> bool:
        """With a schedule."""
        return self.schedule == "cubic"

    def check(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        from chirplet.pruner.masking.masks import check_sparsity, prunable

        check_sparsity(prunable(model, self.scope), self.sparsity)

    def reached(self, model: "PreTrainedModel") -> float | None:
        from chirplet.pruner.masking.masks import prunable, sparsity_of

        return sparsity_of(prunable(model, self.scope))

    @abstractmethod
    def masks(self, model: "PreTrainedModel", evidence: Evidence, sparsity: float) -> Masks:
        """Masks that keep what scores highest in `model` as it is now."""

    def sound_masks(self, model: "PreTrainedModel", evidence: Evidence, sparsity: float) -> Masks:
        """The same.

        Raises:
            PruningError: they would leave nothing of a layer.
        """
        from chirplet.pruner.masking.masks import check_alive

        masks = self.masks(model, evidence, sparsity)
        check_alive(masks, sparsity)
        return masks

    def prune(self, model: "PreTrainedModel", evidence: Evidence) -> Pruned:
        from chirplet.pruner.masking.masks import apply_masks, prunable

        weights = prunable(model, self.scope)
        masks = self.sound_masks(model, evidence, self.sparsity)
        if self.trained:
            masks = {name: weight != 0 for name, weight in weights.items()}
        apply_masks(weights, masks)
        return Pruned(model, evidence.tokenizer, masks, {})

    def masking(self, pruned: Pruned, evidence: Evidence, steps: int) -> "Masking":
        if not self.trained:
            return super().masking(pruned, evidence, steps)
        from chirplet.pruner.masking.masks import Ramp, prunable, sparsity_of
        from chirplet.pruner.masking.schedule import Rising

        initial = sparsity_of(prunable(pruned.model, self.scope))
        ramp = Ramp(initial, self.sparsity, int(self.ramp_fraction * steps), self.every_steps)
        return Rising(pruned.model, pruned.masks, partial(self.sound_masks, pruned.model, evidence), ramp)
