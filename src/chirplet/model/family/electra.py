"""ELECTRA (Clark et al. 2020, arXiv 2003.10555)."""

from typing import TYPE_CHECKING, Any

from chirplet.model.family.base import Head
from chirplet.model.family.bert import TwoLayerHead

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class Electra(TwoLayerHead):
    """BERT with embeddings of a size of their own, and a head of two linear layers with GELU."""

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        return layers + 1 if part.startswith("embeddings_project.") else super().depth_outside_layers(part, layers)

    def projection(self, encoder: Any) -> "nn.Linear | None":
        return getattr(encoder, "embeddings_project", None)

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.classifier.dense, "gelu", parts.classifier.out_proj)
