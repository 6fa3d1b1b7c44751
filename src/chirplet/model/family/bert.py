"""BERT (Devlin et al. 2018, arXiv 1810.04805), the architecture of MiniLM too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.model.family.base import ConfigNames, Embeddings, Family, Head, MatrixName, PostNorm

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel


class Bert(Family):
    """BERT, whose head is one linear layer on the encoder's pooler."""

    fast_forward: ClassVar[bool] = True
    writes_graph: ClassVar[bool] = True
    prunes_heads: ClassVar[bool] = True

    names: ClassVar[ConfigNames] = ConfigNames(
        layers="num_hidden_layers",
        hidden_size="hidden_size",
        heads="num_attention_heads",
        intermediate_size="intermediate_size",
        positions="max_position_embeddings",
        activation="hidden_act",
        encoder_dropout=("hidden_dropout_prob", "attention_probs_dropout_prob"),
        classifier_dropout="classifier_dropout",
    )
    layers_name: ClassVar[str] = "encoder.layer"
    embeddings_name: ClassVar[str] = "embeddings"
    pooler_name: ClassVar[str] = "pooler"
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    }

    def position_offset(self, config: "PretrainedConfig") -> int:
        return 0

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
        parts: Any = model.base_model.get_submodule(self.embeddings_name)
        return Embeddings(
            words=parts.word_embeddings,
            positions=parts.position_embeddings,
            token_type=parts.token_type_embeddings.weight[0],
            norm=parts.LayerNorm,
            dropout=parts.dropout,
            position_offset=self.position_offset(model.config),
        )

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.base_model.pooler.dense, parts.classifier)

    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        parts: Any = model
        logits: Tensor = parts.classifier(parts.dropout(parts.base_model.pooler(first[:, None])))
        return logits
