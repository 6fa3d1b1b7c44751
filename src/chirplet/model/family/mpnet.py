"""MPNet (Song et al. 2020, arXiv 2004.09297)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.model.family.base import ConfigNames, MatrixName, Part, PostNorm
from chirplet.model.family.bert import TwoLayerHead

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel


class MPNet(TwoLayerHead):
    """BERT whose attention scores have a bias by relative position, the same in all layers."""

    names: ClassVar[ConfigNames] = ConfigNames(classifier_dropout=())  # the head's is the encoder's
    prunes: ClassVar[frozenset[Part]] = frozenset({"layers", "neurons"})
    unpruned: ClassVar[Mapping[Part, str]] = {"heads": "layers share the position bias of each head"}
    counts_from_padding = True
    attentions = ("eager",)
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {
        "query": "attention.attn.q",
        "key": "attention.attn.k",
        "value": "attention.attn.v",
        "attention_output": "attention.attn.o",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    }

    def position_offset(self, config: "PretrainedConfig") -> int:
        return 2  # as in RoBERTa, but with a padding id that `config.json` cannot change

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        if part.startswith("encoder.relative_attention_bias."):
            return layers + 1
        return super().depth_outside_layers(part, layers)

    def post_norm(self, layer: "nn.Module") -> PostNorm:
        parts: Any = layer
        attention, output = parts.attention, parts.output
        return PostNorm(
            attention_dropout=attention.attn.dropout,
            attention_output_dropout=attention.dropout,
            attention_norm=attention.LayerNorm,
            activation=parts.intermediate.intermediate_act_fn,
            output_dropout=output.dropout,
            output_norm=output.LayerNorm,
        )

    def attention_bias(self, model: "PreTrainedModel", tokens: int) -> "Tensor | None":
        encoder: Any = model.base_model
        shape_alone = encoder.encoder.relative_attention_bias.weight.new_empty(1, tokens, 1)
        bias: Tensor = encoder.encoder.compute_position_bias(shape_alone)[0]
        return bias
