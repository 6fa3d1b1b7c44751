"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.model.family.base import ConfigNames, Head, MatrixName, PostNorm
from chirplet.model.family.bert import Bert

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class DistilBert(Bert):
    """BERT without token types and pooler, with other names, and with a head of two linear layers with ReLU."""

    names: ClassVar[ConfigNames] = ConfigNames(
        layers="n_layers",
        hidden_size="dim",
        heads="n_heads",
        intermediate_size="hidden_dim",
        activation="activation",
        encoder_dropout=("dropout", "attention_dropout"),
        classifier_dropout=("seq_classif_dropout",),
    )
    layers_name = "transformer.layer"
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention_output": "attention.out_lin",
        "intermediate": "ffn.lin1",
        "output": "ffn.lin2",
    }

    def post_norm(self, layer: "nn.Module") -> PostNorm:
        parts: Any = layer
        return PostNorm(
            attention_dropout=parts.attention.dropout,
            attention_output_dropout=None,
            attention_norm=parts.sa_layer_norm,
            activation=parts.ffn.activation,
            output_dropout=parts.ffn.dropout,
            output_norm=parts.output_layer_norm,
        )

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.pre_classifier, "relu", parts.classifier)

    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        parts: Any = model
        logits: Tensor = parts.classifier(parts.dropout(parts.pre_classifier(first).relu()))
        return logits
