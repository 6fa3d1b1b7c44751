"""Magnitude pruning: remove the smallest weights, by one threshold for all (Han et al. 2015, arXiv 1506.02626)."""

from typing import TYPE_CHECKING

from chirplet.pruner.base import Masks, ScoredPruner
from chirplet.pruner.masking.calibration import CalibrationData

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Magnitude(ScoredPruner):
    """Scores a weight by its absolute value."""

    def masks(self, model: "PreTrainedModel", calibration: CalibrationData, sparsity: float) -> Masks:
        from chirplet.pruner.masking.masks import global_magnitude_mask, prunable

        weights = prunable(model, self.scope)
        return global_magnitude_mask({name: weight.detach().abs() for name, weight in weights.items()}, sparsity)
