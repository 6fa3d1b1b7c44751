"""Structured pruning: remove layers, heads and neurons, which leaves a smaller dense model."""

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from chirplet.config.schema import Count, Index
from chirplet.model.family.base import Family, Part, Sizes
from chirplet.model.loading.blueprint import Blueprint
from chirplet.pruner.base import Pruned, Pruner
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.system.error import ModelError, PruningError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

KEYS: dict[Part, str] = {"layers": "layers", "heads": "heads", "neurons": "intermediate_size"}
"""The setting of each part."""


@dataclass(frozen=True)
class Kept:
    """The indices of kept layers, and the numbers of kept heads and neurons per layer; None where all are kept."""

    layers: list[int]
    heads: int | None
    neurons: int | None

    def counts(self) -> dict[Part, int]:
        """The numbers of what is not kept whole."""
        counts: dict[Part, int | None] = {"heads": self.heads, "neurons": self.neurons}
        return {part: count for part, count in counts.items() if count is not None}


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

    def check(self, model: Blueprint) -> Blueprint:
        from chirplet.model.family import family_of

        kept, config = self.kept(model.config), copy.deepcopy(model.config)
        family = family_of(config)
        sizes = family.size_changes(heads=kept.heads, intermediate_size=kept.neurons)
        config.update(family.layer_changes(config, kept.layers) | sizes)
        return replace(model, config=config)

    def prune(self, model: "PreTrainedModel", calibration: CalibrationData) -> Pruned:
        from chirplet.model.family import family_of
        from chirplet.model.structure.narrowing import narrowed
        from chirplet.pruner.masking.importance import importances
        from chirplet.pruner.masking.masks import zeros_of

        kept = self.kept(model.config)
        counts = kept.counts()
        of_part = importances(model, calibration, [*counts]) if counts else {}
        chosen: dict[Part, list[Tensor]] = {
            part: [of_part[part][layer].topk(count).indices.sort().values for layer in kept.layers]
            for part, count in counts.items()
        }
        smaller = narrowed(model, kept.layers, chosen.get("heads"), chosen.get("neurons"))
        sizes = family_of(smaller).sizes(smaller.config)
        facts: dict[str, Any] = {
            "layers": kept.layers,
            "intermediate_size": sizes.intermediate_size,
            "heads": sizes.heads,
        }
        if "neurons" in chosen:
            facts["importance_kept"] = {
                str(layer): _share(of_part["neurons"][layer], neurons)
                for layer, neurons in zip(kept.layers, chosen["neurons"], strict=True)
            }
        return Pruned(smaller, calibration.tokenizer, zeros_of(smaller), facts)

    def kept(self, config: "PretrainedConfig") -> Kept:
        """What is kept of a model with this configuration.

        Raises:
            PruningError: the model has fewer, its family cannot lose them, its `config.json` cannot express the result,
                or nothing would be pruned.
        """
        from chirplet.model.family import family_of

        family = family_of(config)
        sizes = family.sizes(config)
        layers = [*range(self.layers or sizes.layers)] if not isinstance(self.layers, list) else self.layers
        for part, wanted, available in (
            ("layers", layers[-1] + 1, sizes.layers),
            ("intermediate_size", self.intermediate_size, sizes.intermediate_size),
            ("heads", self.heads, sizes.heads),
        ):
            if wanted is not None and wanted > available:
                raise PruningError(
                    f"pruner.{part}: got {getattr(self, part)}, but the parent has {available}; should be less"
                )
        # A size that is given as it is changes nothing.
        kept = Kept(
            layers,
            None if self.heads == sizes.heads else self.heads,
            None if self.intermediate_size == sizes.intermediate_size else self.intermediate_size,
        )
        if kept == Kept([*range(sizes.layers)], None, None):
            current = f"layers={sizes.layers}, intermediate_size={sizes.intermediate_size}, heads={sizes.heads}"
            raise PruningError(
                f"pruner: got structured with the sizes of the parent ({current}), which prunes nothing; "
                f"reduce {_others(family, config)}"
            )
        _check_parts(family, config, kept)
        _check_heads(kept.heads, sizes)
        return kept


def _check_parts(family: Family, config: "PretrainedConfig", kept: Kept) -> None:
    """Check that the family can lose what is not kept."""
    for part, count in kept.counts().items():
        obstacle = family.obstacle(part, config)
        if obstacle is not None:
            raise PruningError(
                f"pruner.{KEYS[part]}: got {count}, but {part} of a model of type {config.model_type!r} cannot be "
                f"removed, since {obstacle}; should be null, reduce {_others(family, config)} instead"
            )
    try:
        family.layer_changes(config, kept.layers)
    except ModelError as error:
        raise PruningError(*error.renamed({"layers": "pruner.layers"}).parts) from error


def _check_heads(heads: int | None, sizes: Sizes) -> None:
    if heads is not None and sizes.hidden_size % heads:
        fitting = [str(count) for count in range(1, sizes.heads + 1) if sizes.hidden_size % count == 0]
        raise PruningError(
            f"pruner.heads: got {heads}, should be one of {', '.join(fitting)}, which divide the hidden size "
            f"{sizes.hidden_size}"
        )


def _others(family: Family, config: "PretrainedConfig") -> str:
    """The settings of what can be removed of such a model."""
    keys = [f"pruner.{key}" for part, key in KEYS.items() if family.obstacle(part, config) is None]
    return " or ".join(filter(None, (", ".join(keys[:-1]), keys[-1])))


def _share(importance: "Tensor", kept: "Tensor") -> float:
    """The share of a layer's importance that the kept neurons have; 1 if no neuron has any."""
    total = float(importance.sum())
    return float(importance[kept].sum()) / total if total else 1.0
