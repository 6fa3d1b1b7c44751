"""Families of architectures: the names of a model's parts, and what chirplet supports."""

from typing import TYPE_CHECKING

from chirplet.model.family.base import Family, MatrixName
from chirplet.model.family.bert import Bert
from chirplet.model.family.roberta import Roberta
from chirplet.system.error import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["FAMILIES", "Family", "family_named", "family_of", "matrix_of"]

FAMILIES: dict[str, Family] = {
    "bert": Bert(),
    "camembert": Roberta(),
    "roberta": Roberta(),
    "xlm-roberta": Roberta(),
}
"""By `model_type` of `config.json`."""


def family_named(model_type: object) -> Family:
    """The family of a `model_type`.

    Raises:
        ModelError: the type is unknown.
    """
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise ModelError(f"config.json: got model_type {model_type!r}, should be one of {', '.join(FAMILIES)}")
    return family


def family_of(model: "PreTrainedModel | PretrainedConfig") -> Family:
    """The family of a model or of its configuration.

    Raises:
        ModelError: its `model_type` is unknown.
    """
    return family_named(getattr(model, "config", model).model_type)


def matrix_of(name: str) -> tuple[int, MatrixName] | None:
    """The layer's index and the matrix that a module's name denotes in any family; None if it denotes none."""
    for family in FAMILIES.values():
        inside = family.within_layer(name)
        for matrix, path in family.matrix_names.items():
            if inside is not None and inside[1] == path:
                return inside[0], matrix
    return None
