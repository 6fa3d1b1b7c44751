"""Structured pruning: remove layers, heads and neurons, which leaves a smaller dense model."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from chirplet.config.schema import Count, Index
from chirplet.pruner.base import Pruned, Pruner
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.system.error import PruningError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class Structured(Pruner):
    """The sizes to keep; null keeps all.

    `layers` is a number of the lowest layers, which transfer best (arXiv 2305.15032), or a list of indices from 0.
    `intermediate_size` is the number of neurons of each layer, `heads` of its attention heads; the least important ones
    on train texts are removed.
    """

    layers: Count | Annotated[list[Index], Field(min_length=1)] | None
    intermediate_size: Count | None
    heads: Count | None

    @field_validator("layers")
    @classmethod
    def _ascending(cls, layers: Any) -> Any:
        if isinstance(layers, list) and layers != sorted(set(layers)):
            raise ValueError(f"got {layers}, should be in ascending order, each once")
        return layers

    def check(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.kept(model.config)

    def prune(self, model: "PreTrainedModel", calibration: CalibrationData) -> Pruned:
        from chirplet.model.structure.narrowing import narrowed
        from chirplet.pruner.masking.importance import importances
        from chirplet.pruner.masking.masks import zeros_of

        config = model.config
        layers, heads, neurons = self.kept(config)
        of_heads, of_neurons = importances(model, calibration)
        keep_heads = [of_heads[layer].topk(heads).indices.sort().values for layer in layers]
        keep_neurons = [of_neurons[layer].topk(neurons).indices.sort().values for layer in layers]
        smaller = narrowed(model, layers, keep_heads, keep_neurons)
        facts: dict[str, Any] = {
            "layers": layers,
            "intermediate_size": neurons,
            "heads": heads,
            "importance_kept": {
                str(layer): _share(of_neurons[layer], kept) for layer, kept in zip(layers, keep_neurons, strict=True)
            },
        }
        return Pruned(smaller, calibration.tokenizer, zeros_of(smaller), facts)

    def kept(self, config: "PretrainedConfig") -> tuple[list[int], int, int]:
        """The indices of kept layers, and the numbers of kept heads and neurons per layer.

        Raises:
            PruningError: the model has fewer, its `config.json` cannot express the result, or nothing would be pruned.
        """
        from chirplet.model.family import FAMILIES, family_of

        family = family_of(config)
        if not family.prunes_heads:
            known = ", ".join(name for name, one in FAMILIES.items() if one.prunes_heads)
            raise PruningError(
                f"pruner: got structured, but the model is of type {config.model_type!r}, should be one of {known}"
            )
        sizes = family.sizes(config)
        available = {"layers": sizes.layers, "intermediate_size": sizes.intermediate_size, "heads": sizes.heads}
        layers = self.layers
        if layers is None or isinstance(layers, int):
            layers = list(range(layers or available["layers"]))
        neurons, heads = self.intermediate_size or available["intermediate_size"], self.heads or available["heads"]
        for name, wanted in (("layers", layers[-1] + 1), ("intermediate_size", neurons), ("heads", heads)):
            if wanted > available[name]:
                raise PruningError(
                    f"pruner.{name}: got {getattr(self, name)}, but the parent has {available[name]}; should be less"
                )
        if sizes.hidden_size % heads:
            fitting = [str(count) for count in range(1, available["heads"] + 1) if sizes.hidden_size % count == 0]
            raise PruningError(
                f"pruner.heads: got {heads}, should be one of {', '.join(fitting)}, which divide the hidden size "
                f"{sizes.hidden_size}"
            )
        if (len(layers), neurons, heads) == (available["layers"], available["intermediate_size"], available["heads"]):
            current = ", ".join(f"{name}={count}" for name, count in available.items())
            raise PruningError(
                f"pruner: got structured with the sizes of the parent ({current}), which prunes nothing; "
                "reduce pruner.layers, pruner.heads or pruner.intermediate_size"
            )
        return layers, heads, neurons


def _share(importance: "Tensor", kept: "Tensor") -> float:
    """The share of a layer's importance that the kept neurons have; 1 if no neuron has any."""
    total = float(importance.sum())
    return float(importance[kept].sum()) / total if total else 1.0
