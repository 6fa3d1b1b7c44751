"""Evaluate pruning without recovery: accuracy by sparsity, and loss by pruned layer."""

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
    """An evaluator on validation texts, and a factory of the runtime that computes a model."""

    evaluator: Evaluator
    runtime: "Callable[[PreTrainedModel], Runtime]"

    def evaluate_splits(self, model: "PreTrainedModel") -> dict[str, float]:
        """`accuracy`, and `loss` in nats. The model is moved back if `runtime` moves it."""
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
    """`sparsity`, `accuracy` and `loss` of the model pruned to each sparsity without training."""
    points = []
    for sparsity in sparsities:
        with masked(model, masks_at(sparsity)) as pruned:
            points.append({"sparsity": sparsity} | evaluator.evaluate_splits(pruned))
    return points


def layer_losses(model: "PreTrainedModel", masks: "Mapping[str, Tensor]", evaluator: CurveEvaluator) -> list[float]:
    """The rise of the loss, in nats, when one layer alone is pruned; lowest layer first."""
    dense = evaluator.evaluate_splits(model)["loss"]
    family = family_of(model)
    inside = {name: family.within_layer(name) for name in masks}
    rises = []
    for index in range(family.distinct_layers(model.config)):
        of_layer = {name: masks[name] for name, part in inside.items() if part is not None and part[0] == index}
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
