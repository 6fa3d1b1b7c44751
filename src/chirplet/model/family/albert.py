"""ALBERT (Lan et al. 2019, arXiv 1909.11942)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.model.family.base import ConfigNames, Head, MatrixName, Part, PostNorm, Sizes
from chirplet.model.family.bert import Bert
from chirplet.system.error import Key, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel


class Albert(Bert):
    """BERT that computes the same layer again and again, with embeddings of a size of their own.

    Models with several groups of layers have a layer of each group in turn.
    """

    names: ClassVar[ConfigNames] = ConfigNames(
        distinct_layers="num_hidden_groups", classifier_dropout=("classifier_dropout_prob",)
    )
    prunes: ClassVar[frozenset[Part]] = frozenset({"layers"})
    unpruned: ClassVar[Mapping[Part, str]] = dict.fromkeys(
        ("heads", "neurons"), "all layers have the same heads and neurons"
    )
    layers_name = "encoder.albert_layer_groups"
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {
        "query": "albert_layers.0.attention.query",
        "key": "albert_layers.0.attention.key",
        "value": "albert_layers.0.attention.value",
        "attention_output": "albert_layers.0.attention.dense",
        "intermediate": "albert_layers.0.ffn",
        "output": "albert_layers.0.ffn_output",
    }

    def sizes(self, config: "PretrainedConfig") -> Sizes:
        if config.inner_group_num != 1:
            raise ModelError(f"config.json: inner_group_num: got {config.inner_group_num}, should be 1")
        return super().sizes(config)

    def layers(self, model: "PreTrainedModel") -> "list[nn.Module]":
        groups: Any = model.base_model.get_submodule(self.layers_name)
        layers = self.sizes(model.config).layers
        return [groups[layer * len(groups) // layers] for layer in range(layers)]

    def layer_changes(self, config: "PretrainedConfig", layers: Sequence[int]) -> dict[str, Any]:
        count, groups = len(layers), self.distinct_layers(config)
        if [*layers] != [*range(count)]:
            raise ModelError(
                Key("layers"),
                f": got {[*layers]}, should be a number of the lowest layers, since layers of a model of type "
                f"{config.model_type!r} share their weights",
            )
        if groups == 1:
            return super().layer_changes(config, layers)
        in_group, more = divmod(self.sizes(config).layers, groups)
        if more or count % in_group:
            raise ModelError(
                Key("layers"), f": got {count}, should be a multiple of {in_group}, the layers that share their weights"
            )
        return super().layer_changes(config, layers) | {"num_hidden_groups": count // in_group}

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        if part.startswith("encoder.embedding_hidden_mapping_in."):
            return layers + 1
        return super().depth_outside_layers(part, layers)

    def post_norm(self, layer: "nn.Module") -> PostNorm:
        parts: Any = layer.get_submodule("albert_layers.0")
        return PostNorm(
            attention_dropout=parts.attention.attention_dropout,
            attention_output_dropout=parts.attention.output_dropout,
            attention_norm=parts.attention.LayerNorm,
            activation=parts.activation,
            output_dropout=None,
            output_norm=parts.full_layer_layer_norm,
        )

    def projection(self, encoder: Any) -> "nn.Linear | None":
        linear: nn.Linear = encoder.encoder.embedding_hidden_mapping_in
        return linear

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.base_model.pooler, "tanh", parts.classifier)

    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        parts: Any = model
        logits: Tensor = parts.classifier(parts.dropout(parts.base_model.pooler(first).tanh()))
        return logits
