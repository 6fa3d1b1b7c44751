"""What pruning alone does before any recovery: accuracy by sparsity, and the loss by the layer that is pruned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chirplet.evaluation.evaluator import Evaluator
from chirplet.model.family import family_of
from chirplet.pruner.masking.masks import masked, prunable
from chirplet.runtime.base import Runtime

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class CurveEvaluator:
    """What evaluates models on validation texts, and what runs a model: where, in what."""

    evaluator: Evaluator
    runtime: "Callable[[PreTrainedModel], Runtime]"

    def evaluate_splits(self, model: "PreTrainedModel") -> dict[str, float]:
        """`accuracy`, and `loss` in nats; `runtime` may move the model, which is moved back."""
        before: Any = model.device
        try:
            quality, _ = self.evaluator(self.runtime(model))
        finally:
            model.to(before)
        return {"accuracy": quality.accuracy, "loss": quality.loss}


def curve(
    model: "PreTrainedModel",
    masks_at: "Callable[[float], Mapping[str, Tensor]]",
    sparsities: Sequence[float],
    evaluator: CurveEvaluator,
) -> list[dict[str, float]]:
    """For each sparsity, pruned at once and not trained: itself, `accuracy` and `loss`."""
    points = []
    for sparsity in sparsities:
        with masked(model, masks_at(sparsity)) as pruned:
            points.append({"sparsity": sparsity} | evaluator.evaluate_splits(pruned))
    return points


def layer_losses(model: "PreTrainedModel", masks: "Mapping[str, Tensor]", evaluator: CurveEvaluator) -> list[float]:
    """By how much the loss rises, in nats, where one layer alone is pruned; lowest layer first."""
    dense = evaluator.evaluate_splits(model)["loss"]
    family = family_of(model)
    inside = {name: family.within_layer(name) for name in masks}
    rises = []
    for index in range(len(family.layers(model))):
        of_layer = {name: masks[name] for name, where in inside.items() if where is not None and where[0] == index}
        with masked(model, of_layer) as pruned:
            rises.append(evaluator.evaluate_splits(pruned)["loss"] - dense)
    return rises


def module_sparsity(model: "PreTrainedModel") -> dict[str, float]:
    """The share of zeros in each matrix and each embedding table, by the module's name."""
    tables: dict[str, Any] = {name: weight for name, weight in prunable(model, "all").items() if weight.dim() == 2}
    return {
        name.removesuffix(".weight"): 1 - int(weight.count_nonzero()) / weight.numel()
        for name, weight in tables.items()
    }
