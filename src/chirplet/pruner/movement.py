"""Movement pruning: remove weights that training moves towards zero (Sanh et al. 2020, arXiv 2005.07683).

Each weight has a learnt score, −Σ η ∂L/∂W · W, which falls while the weight shrinks. The forward pass uses only the
weights with the highest scores. The backward pass updates all scores (straight-through estimator, equation 3).
"""

from typing import TYPE_CHECKING, Literal

from chirplet.config.schema import Count, Fraction, Positive
from chirplet.pruner.base import Pruned, Pruner
from chirplet.pruner.masking.calibration import CalibrationData

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.pruner.masking.schedule import Masking


class Movement(Pruner):
    """Raises sparsity to `sparsity` of all weights in `scope`, on the `cubic` schedule of the other pruners.

    `score_learning_rate` is the peak learning rate of the scores. It follows the same schedule as that of the weights.
    """

    sparsity: Fraction
    scope: Literal["body", "linear"]
    score_learning_rate: Positive
    ramp_fraction: Fraction
    every_steps: Count

    @property
    def trained(self) -> bool:
        """Always true, since training learns the scores."""
        return True

    def check_weights(self, model: "PreTrainedModel") -> None:
        from chirplet.pruner.masking.masks import check_room, check_sparsity, prunable

        check_sparsity(prunable(model, self.scope), self.sparsity)
        check_room(prunable(model, self.scope), self.sparsity)

    def reached(self, model: "PreTrainedModel") -> float | None:
        from chirplet.pruner.masking.masks import prunable, sparsity_of

        return sparsity_of(prunable(model, self.scope))

    def prune(self, model: "PreTrainedModel", calibration: CalibrationData) -> Pruned:
        from chirplet.pruner.masking.masks import prunable

        weights = prunable(model, self.scope)
        return Pruned(model, calibration.tokenizer, {name: weight != 0 for name, weight in weights.items()}, {})

    def masking(self, pruned: Pruned, calibration: CalibrationData, steps: int) -> "Masking":
        from chirplet.pruner.masking.masks import Ramp, prunable, sparsity_of
        from chirplet.pruner.masking.schedule import Moving

        initial = sparsity_of(prunable(pruned.model, self.scope))
        ramp = Ramp(initial, self.sparsity, int(self.ramp_fraction * steps), self.every_steps)
        return Moving(pruned.model, pruned.masks, self.score_learning_rate, ramp)
