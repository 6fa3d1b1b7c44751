"""The smallest weights go, by one threshold for all (Han et al. 2015, arXiv 1506.02626)."""

from typing import TYPE_CHECKING

from chirplet.pruner.base import Masks, ScoredPruner
from chirplet.pruner.masking.calibration import CalibrationData

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Magnitude(ScoredPruner):
    """Scores a weight by its absolute value."""

    def masks(self, model: "PreTrainedModel", evidence: CalibrationData, sparsity: float) -> Masks:
        from chirplet.pruner.masking.masks import lowest_of_all, prunable

        weights = prunable(model, self.scope)
        return lowest_of_all({name: weight.detach().abs() for name, weight in weights.items()}, sparsity)
