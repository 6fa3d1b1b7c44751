"""DeBERTa-v2 and v3 (He et al. 2020, arXiv 2006.03654; 2021, arXiv 2111.09543)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from chirplet.model.family.base import ConfigNames, Family, MatrixName, Part

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class DebertaV2(Family):
    """BERT with attention between contents and relative positions, projected by the same matrices in v3."""

    names: ClassVar[ConfigNames] = ConfigNames(classifier_dropout=("cls_dropout", "pooler_dropout"))
    layers_name = "encoder.layer"
    prunes: ClassVar[frozenset[Part]] = frozenset({"layers", "heads", "neurons"})
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

    def obstacle(self, part: Part, config: "PretrainedConfig") -> str | None:
        # All summands of v3's scores are products with queries, as in BERT; v2 projects positions by other matrices.
        if part == "heads" and not getattr(config, "share_att_key", False):
            return "positions have projections of their own (share_att_key is not true)"
        if part == "heads" and getattr(config, "attention_head_size", None) is not None:
            return "config.json sets attention_head_size"
        return super().obstacle(part, config)

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        for start in ("embeddings.", "encoder.rel_embeddings.", "encoder.LayerNorm.", "encoder.conv."):
            if part.startswith(start):
                return layers + 1
        return None
