"""The interface of a family of architectures: module names, keys of `config.json`, and supported features.

Importing a family imports neither torch nor transformers.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chirplet.system.error import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

MatrixName = Literal["query", "key", "value", "attention_output", "intermediate", "output"]
"""The matrices of a layer; `intermediate` widens the states in the feed-forward part, `output` narrows them again."""


Part = Literal["layers", "heads", "neurons"]
"""What structured pruning can remove. `config.json` must be able to express the rest."""


@dataclass(frozen=True)
class ConfigNames:
    """Keys of `config.json` for what every encoder has; `distinct_layers` only where layers share weights."""

    layers: str = "num_hidden_layers"
    distinct_layers: str | None = None
    hidden_size: str = "hidden_size"
    heads: str = "num_attention_heads"
    intermediate_size: str = "intermediate_size"
    positions: str = "max_position_embeddings"
    activation: str = "hidden_act"
    encoder_dropout: tuple[str, ...] = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    classifier_dropout: tuple[str, ...] = ("classifier_dropout",)


@dataclass(frozen=True)
class Sizes:
    """Number of layers, width of the states, and attention heads and feed-forward neurons of each layer."""

    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int

    @property
    def head_size(self) -> int:
        """The width of one head."""
        return self.hidden_size // self.heads


@dataclass(frozen=True)
class PostNorm:
    """One encoder layer without its matrices, with normalization after the residual sum.

    attended = attention_norm(attention_output_dropout(attention) + states), then
    output_norm(output_dropout(feed-forward) + attended). A dropout is None where the layer has none.
    """

    attention_dropout: "nn.Dropout"
    attention_output_dropout: "nn.Dropout | None"
    attention_norm: "nn.LayerNorm"
    activation: "Callable[[Tensor], Tensor]"
    output_dropout: "nn.Dropout | None"
    output_norm: "nn.LayerNorm"


@dataclass(frozen=True)
class Embeddings:
    """The normalized sum of word, position and token type embeddings, and a projection to the width of the states.

    The first token has row `position_offset` of `positions`. Every token has the type embedding `token_type`. Both it
    and `projection` are None where the encoder has none.
    """

    words: "nn.Embedding"  # (vocab_size, embedding_size)
    positions: "nn.Embedding"  # (positions, embedding_size)
    token_type: "Tensor | None"  # (embedding_size,)
    norm: "nn.LayerNorm"
    dropout: "nn.Dropout"
    position_offset: int
    projection: "nn.Linear | None" = None  # (hidden_size, embedding_size)


@dataclass(frozen=True)
class Head:
    """Logits are output(activation(dense(x))) of the first token's state x, without dropout."""

    dense: "nn.Linear"  # (hidden_size, hidden_size)
    activation: Literal["tanh", "relu", "gelu"]
    output: "nn.Linear"  # (labels, hidden_size)


class Family(ABC):
    """Architectures whose models have the same modules with the same names."""

    names: ClassVar[ConfigNames] = ConfigNames()
    layers_name: str
    """Name of the encoder's layers, for example `encoder.layer`."""
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {}
    """Names of a layer's matrices within the layer. Those that a family does not have one by one are absent."""
    prunes: ClassVar[frozenset[Part]]
    """What structured pruning can remove from each layer alike."""
    unpruned: ClassVar[Mapping[Part, str]] = {}
    """Why it cannot remove the other parts."""
    counts_from_padding: bool = False
    """Whether the positions of tokens depend on the padding id, which then cannot change."""
    attentions: tuple[str, ...] = ("eager", "sdpa")
    """The implementations of attention in transformers, the fastest first."""

    def sizes(self, config: "PretrainedConfig") -> Sizes:
        """The sizes of a model with this configuration."""
        names = (self.names.layers, self.names.hidden_size, self.names.heads, self.names.intermediate_size)
        return Sizes(*(int(getattr(config, name)) for name in names))

    def size_changes(
        self, hidden_size: int | None = None, heads: int | None = None, intermediate_size: int | None = None
    ) -> dict[str, int]:
        """The sizes that are not None, by their keys in `config.json`."""
        names = self.names
        changes = {names.hidden_size: hidden_size, names.heads: heads, names.intermediate_size: intermediate_size}
        return {name: size for name, size in changes.items() if size is not None}

    def layer_changes(self, config: "PretrainedConfig", layers: Sequence[int]) -> dict[str, Any]:
        """The keys of `config.json` for a model that has only these layers of another one, ascending.

        Raises:
            ModelError: the family's models cannot do without one of the other layers. The message begins with the `Key`
                `layers`.
        """
        return {self.names.layers: len(layers)}

    def obstacle(self, part: Part, config: "PretrainedConfig") -> str | None:
        """Why structured pruning cannot remove such parts of a model with this configuration; None if it can."""
        return None if part in self.prunes else self.unpruned[part]

    def dropout_changes(self, config: "PretrainedConfig", encoder: float, classifier: float) -> dict[str, float]:
        """Dropout rates of the encoder, its attention included, and of the head, by their keys in `config.json`."""
        names = self.names
        return dict.fromkeys(names.encoder_dropout, encoder) | dict.fromkeys(names.classifier_dropout, classifier)

    def set_head_dropout(self, model: "PreTrainedModel", rate: float) -> None:
        """Set the dropout of the head, for which some architectures have no key in `config.json`."""
        from torch import nn

        for head in self.head_modules(model):
            for module in head.modules():
                if isinstance(module, nn.Dropout):
                    module.p = rate

    def activation(self, config: "PretrainedConfig") -> str:
        """The name in transformers of the activation of the feed-forward parts."""
        return str(getattr(config, self.names.activation))

    def position_offset(self, config: "PretrainedConfig") -> int:
        """The first token's row in the table of position embeddings."""
        return 0

    def longest_input(self, config: "PretrainedConfig") -> int:
        """Most tokens of a text, special tokens included, by the table of position embeddings."""
        return int(getattr(config, self.names.positions)) - self.position_offset(config)

    def layers(self, model: "PreTrainedModel") -> "list[nn.Module]":
        """The encoder's layers in the order of their computation. A layer that is computed twice is there twice."""
        layers: Any = model.base_model.get_submodule(self.layers_name)
        return list(layers)

    def distinct_layers(self, config: "PretrainedConfig") -> int:
        """The number of layers with weights of their own, of a model with this configuration."""
        key = self.names.distinct_layers
        return self.sizes(config).layers if key is None else int(getattr(config, key))

    def matrices(self, layer: "nn.Module") -> "dict[MatrixName, nn.Linear]":
        """The matrices of one of `layers` that have a name in `matrix_names`; `weight` has shape (outputs, inputs)."""
        parts: dict[MatrixName, Any] = {name: layer.get_submodule(path) for name, path in self.matrix_names.items()}
        return parts

    def neuron_rows(self, neurons: "Tensor", width: int) -> "Tensor":
        """Rows of the matrix `intermediate` that compute these neurons of `width`, shape (rows of one, neurons)."""
        return neurons[None]

    def word_embeddings(self, model: "PreTrainedModel") -> "nn.Embedding":
        """The word embeddings, shape (vocab_size, embedding_size)."""
        table: Any = model.get_input_embeddings()
        return table  # type: ignore[no-any-return]

    def head_modules(self, model: "PreTrainedModel") -> "list[nn.Module]":
        """All modules outside the encoder."""
        return [module for module in model.children() if module is not model.base_model]

    def is_head(self, model: "PreTrainedModel", name: str) -> bool:
        """Whether a parameter of that name is outside the encoder."""
        return not name.startswith(f"{model.base_model_prefix}.")

    @abstractmethod
    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        """The depth, as in `depth_from_top`, of an encoder's parameter that is in none of its `layers` layers.

        Args:
            part: the parameter's name within the encoder.
            layers: the number of layers with weights of their own.

        Returns:
            None if the family has no such parameter.
        """

    def depth_from_top(self, model: "PreTrainedModel", name: str) -> int:
        """Depth of the parameter `name` below the head.

        0 is the head and the pooler, 1 the last of L layers, L the first, L + 1 the embeddings.

        Raises:
            ModelError: the parameter is in none of these.
        """
        if self.is_head(model, name):
            return 0
        count = self.distinct_layers(model.config)
        if (inside := self.within_layer(name)) is not None:
            return count - inside[0]
        depth = self.depth_outside_layers(name.removeprefix(f"{model.base_model_prefix}."), count)
        if depth is None:
            raise ModelError(f"parameter {name!r}: should be in the embeddings, a layer, the pooler or the head")
        return depth

    def within_layer(self, name: str) -> tuple[int, str] | None:
        """The layer's index and the name within the layer of a module or parameter; None outside the layers."""
        match = re.search(rf"(?:^|\.){re.escape(self.layers_name)}\.(\d+)\.(.+)$", name)
        return None if match is None else (int(match[1]), match[2])


class PostNormFamily(Family):
    """Encoders that normalize after each residual sum, as BERT does.

    `chirplet.model.fast_forward` computes them, and `chirplet.quantizer.graph` writes their graphs.
    """

    prunes: ClassVar[frozenset[Part]] = frozenset({"layers", "heads", "neurons"})

    @abstractmethod
    def post_norm(self, layer: "nn.Module") -> PostNorm:
        """One of `layers` without its matrices."""

    @abstractmethod
    def embeddings(self, model: "PreTrainedModel") -> Embeddings:
        """The embeddings of the encoder."""

    @abstractmethod
    def head(self, model: "PreTrainedModel") -> Head:
        """The linear layers between the first token's state and the logits, the pooler's included."""

    @abstractmethod
    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        """Logits (batch, labels) of the first token's states (batch, hidden_size); dropout as the model's mode says."""

    def attention_bias(self, model: "PreTrainedModel", tokens: int) -> "Tensor | None":
        """A summand of all layers' attention scores, shape (heads, tokens, tokens); None if there is none."""
        return None
