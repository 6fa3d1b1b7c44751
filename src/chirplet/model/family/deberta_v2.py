"""DeBERTa-v2 and v3 (He et al. 2020, arXiv 2006.03654; 2021, arXiv 2111.09543)."""

from collections.abc import Mapping
from typing import ClassVar

from chirplet.model.family.base import ConfigNames, Family, MatrixName, Part


class DebertaV2(Family):
    """BERT with attention between contents and relative positions, projected by the same matrices in v3."""

    names: ClassVar[ConfigNames] = ConfigNames(classifier_dropout=("cls_dropout", "pooler_dropout"))
    layers_name = "encoder.layer"
    prunes: ClassVar[frozenset[Part]] = frozenset({"layers", "neurons"})
    attentions = ("eager",)
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {
        "query": "attention.self.query_proj",
        "key": "attention.self.key_proj",
        "value": "attention.self.value_proj",
        "attention_output": "attention.output.dense",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    }

    def size_changes(
        self, hidden_size: int | None = None, heads: int | None = None, intermediate_size: int | None = None
    ) -> dict[str, int]:
        of_pooler = {} if hidden_size is None else {"pooler_hidden_size": hidden_size}
        return super().size_changes(hidden_size, heads, intermediate_size) | of_pooler

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        for start in ("embeddings.", "encoder.rel_embeddings.", "encoder.LayerNorm.", "encoder.conv."):
            if part.startswith(start):
                return layers + 1
        return None
