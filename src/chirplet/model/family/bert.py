"""BERT (Devlin et al. 2018, arXiv 1810.04805), the architecture of MiniLM too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.model.family.base import Embeddings, Head, MatrixName, PostNorm, PostNormFamily

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class Bert(PostNormFamily):
    """BERT, whose head is one linear layer on the encoder's pooler."""

    layers_name = "encoder.layer"
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    }

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        return {"pooler": 0, "embeddings": layers + 1}.get(part.split(".")[0])

    def post_norm(self, layer: "nn.Module") -> PostNorm:
        parts: Any = layer
        attention, output = parts.attention, parts.output
        return PostNorm(
            attention_dropout=attention.self.dropout,
            attention_output_dropout=attention.output.dropout,
            attention_norm=attention.output.LayerNorm,
            activation=parts.intermediate.intermediate_act_fn,
            output_dropout=output.dropout,
            output_norm=output.LayerNorm,
        )

    def embeddings(self, model: "PreTrainedModel") -> Embeddings:
        encoder: Any = model.base_model
        parts = encoder.embeddings
        types = getattr(parts, "token_type_embeddings", None)
        return Embeddings(
            words=parts.word_embeddings,
            positions=parts.position_embeddings,
            token_type=None if types is None else types.weight[0],
            norm=parts.LayerNorm,
            dropout=parts.dropout,
            position_offset=self.position_offset(model.config),
            projection=self.projection(encoder),
        )

    def projection(self, encoder: Any) -> "nn.Linear | None":
        """The linear layer between embeddings and states of other sizes; None if the encoder has none."""
        return None

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.base_model.pooler.dense, "tanh", parts.classifier)

    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        parts: Any = model
        logits: Tensor = parts.classifier(parts.dropout(parts.base_model.pooler(first[:, None])))
        return logits


class TwoLayerHead(Bert):
    """BERT without a pooler, with a head of two linear layers: `classifier.dense` and `classifier.out_proj`."""

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.classifier.dense, "tanh", parts.classifier.out_proj)

    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        parts: Any = model
        logits: Tensor = parts.classifier(first[:, None])
        return logits
