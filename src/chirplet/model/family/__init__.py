"""Families of architectures: the names of a model's parts, and what chirplet supports."""

from typing import TYPE_CHECKING

from chirplet.model.family.albert import Albert
from chirplet.model.family.base import Family, MatrixName, PostNormFamily
from chirplet.model.family.bert import Bert
from chirplet.model.family.deberta_v2 import DebertaV2
from chirplet.model.family.distilbert import DistilBert
from chirplet.model.family.electra import Electra
from chirplet.model.family.generic import Generic
from chirplet.model.family.modernbert import ModernBert
from chirplet.model.family.mpnet import MPNet
from chirplet.model.family.roberta import Roberta

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["FAMILIES", "Family", "PostNormFamily", "family_of", "matrix_of"]

FAMILIES: dict[str, Family] = {
    "albert": Albert(),
    "bert": Bert(),
    "camembert": Roberta(),
    "data2vec-text": Roberta(),
    "deberta-v2": DebertaV2(),
    "distilbert": DistilBert(),
    "electra": Electra(),
    "modernbert": ModernBert(),
    "mpnet": MPNet(),
    "roberta": Roberta(),
    "xlm-roberta": Roberta(),
}
"""By `model_type` of `config.json`. Other types are `Generic`."""
GENERIC: dict[str, Family] = {}
"""The other types that were opened so far."""


def family_of(model: "PreTrainedModel | PretrainedConfig") -> Family:
    """The family of a model or of its configuration.

    Raises:
        ModelError: its `model_type` is in none of `FAMILIES`, and `Generic` does not support it.
    """
    config: PretrainedConfig = getattr(model, "config", model)  # type: ignore[arg-type]
    kind = config.model_type
    if kind in FAMILIES:
        return FAMILIES[kind]
    if kind not in GENERIC:
        GENERIC[kind] = Generic(config)
    return GENERIC[kind]


def matrix_of(name: str) -> tuple[int, MatrixName] | None:
    """The layer's index and the matrix that a module's name denotes in any family; None if it denotes none."""
    for family in FAMILIES.values():
        inside = family.within_layer(name)
        for matrix, path in family.matrix_names.items():
            if inside is not None and inside[1] == path:
                return inside[0], matrix
    return None
