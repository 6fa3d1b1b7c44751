"""The interface of a family of architectures: module names, keys of `config.json`, and supported features.

Importing a family imports neither torch nor transformers.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chirplet.system.error import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

MatrixName = Literal["query", "key", "value", "attention_output", "intermediate", "output"]
"""The matrices of a layer; `intermediate` widens the states in the feed-forward part, `output` narrows them again."""


@dataclass(frozen=True)
class ConfigNames:
    """Keys of `config.json` for what every encoder has."""

    layers: str
    hidden_size: str
    heads: str
    intermediate_size: str
    positions: str
    activation: str
    encoder_dropout: tuple[str, ...]
    classifier_dropout: str


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
class Matrices:
    """The linear layers of one encoder layer; `weight` has shape (outputs, inputs)."""

    query: "nn.Linear"  # (hidden_size, hidden_size)
    key: "nn.Linear"  # (hidden_size, hidden_size)
    value: "nn.Linear"  # (hidden_size, hidden_size)
    attention_output: "nn.Linear"  # (hidden_size, hidden_size)
    intermediate: "nn.Linear"  # (intermediate_size, hidden_size)
    output: "nn.Linear"  # (hidden_size, intermediate_size)


@dataclass(frozen=True)
class PostNorm:
    """One encoder layer without its matrices, with normalization after the residual sum.

    attended = attention_norm(attention_output_dropout(attention) + states), then
    output_norm(output_dropout(feed-forward) + attended).
    """

    attention_dropout: "nn.Dropout"
    attention_output_dropout: "nn.Dropout"
    attention_norm: "nn.LayerNorm"
    activation: "Callable[[Tensor], Tensor]"
    output_dropout: "nn.Dropout"
    output_norm: "nn.LayerNorm"


@dataclass(frozen=True)
class Embeddings:
    """The normalized sum of word, position and token type embeddings.

    The first token has row `position_offset` of `positions`. Every token has the type embedding `token_type`.
    """

    words: "nn.Embedding"  # (vocab_size, hidden_size)
    positions: "nn.Embedding"  # (positions, hidden_size)
    token_type: "Tensor"  # (hidden_size,)
    norm: "nn.LayerNorm"
    dropout: "nn.Dropout"
    position_offset: int


@dataclass(frozen=True)
class Head:
    """Logits are output(tanh(dense(x))) of the first token's state x, without dropout."""

    dense: "nn.Linear"  # (hidden_size, hidden_size)
    output: "nn.Linear"  # (labels, hidden_size)


class Family(ABC):
    """Architectures whose models have the same modules with the same names."""

    fast_forward: ClassVar[bool]
    """Whether `chirplet.model.fast_forward` supports the models. Their layers are then `PostNorm`."""
    writes_graph: ClassVar[bool]
    """Whether `chirplet.quantizer.graph` supports the models with GELU. Their layers are then `PostNorm`."""
    prunes_heads: ClassVar[bool]
    """Whether heads and neurons can be pruned to the same number in each layer."""

    names: ClassVar[ConfigNames]
    layers_name: ClassVar[str]
    """Name of the encoder's layers, for example `encoder.layer`."""
    embeddings_name: ClassVar[str]
    pooler_name: ClassVar[str]
    matrix_names: ClassVar[Mapping[MatrixName, str]]
    """Names of a layer's matrices within the layer."""

    def sizes(self, config: "PretrainedConfig") -> Sizes:
        """The sizes of a model with this configuration."""
        names = (self.names.layers, self.names.hidden_size, self.names.heads, self.names.intermediate_size)
        return Sizes(*(int(getattr(config, name)) for name in names))

    def size_changes(
        self,
        layers: int | None = None,
        hidden_size: int | None = None,
        heads: int | None = None,
        intermediate_size: int | None = None,
    ) -> dict[str, int]:
        """The sizes that are not None, by their keys in `config.json`."""
        names = self.names
        changes = {
            names.layers: layers,
            names.hidden_size: hidden_size,
            names.heads: heads,
            names.intermediate_size: intermediate_size,
        }
        return {name: size for name, size in changes.items() if size is not None}

    def dropout_changes(self, encoder: float, classifier: float) -> dict[str, float]:
        """Dropout rates of the encoder, its attention included, and of the head, by their keys in `config.json`."""
        return dict.fromkeys(self.names.encoder_dropout, encoder) | {self.names.classifier_dropout: classifier}

    def activation(self, config: "PretrainedConfig") -> str:
        """The name in transformers of the activation of the feed-forward parts."""
        return str(getattr(config, self.names.activation))

    @abstractmethod
    def position_offset(self, config: "PretrainedConfig") -> int:
        """The first token's row in the table of position embeddings."""

    def longest_input(self, config: "PretrainedConfig") -> int:
        """Most tokens of a text, special tokens included, by the table of position embeddings."""
        return int(getattr(config, self.names.positions)) - self.position_offset(config)

    def layers(self, model: "PreTrainedModel") -> "nn.ModuleList":
        """The encoder's layers, lowest first."""
        layers: Any = model.base_model.get_submodule(self.layers_name)
        return layers  # type: ignore[no-any-return]

    def matrices(self, layer: "nn.Module") -> Matrices:
        """The matrices of one of `layers`."""
        parts: dict[str, Any] = {name: layer.get_submodule(path) for name, path in self.matrix_names.items()}
        return Matrices(**parts)

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

    def word_embeddings(self, model: "PreTrainedModel") -> "nn.Embedding":
        """The word embeddings, shape (vocab_size, hidden_size)."""
        table: Any = model.get_input_embeddings()
        return table  # type: ignore[no-any-return]

    def head_modules(self, model: "PreTrainedModel") -> "list[nn.Module]":
        """All modules outside the encoder."""
        return [module for module in model.children() if module is not model.base_model]

    def is_head(self, model: "PreTrainedModel", name: str) -> bool:
        """Whether a parameter of that name is outside the encoder."""
        return not name.startswith(f"{model.base_model_prefix}.")

    def depth_from_top(self, model: "PreTrainedModel", name: str) -> int:
        """Depth of the parameter `name` below the head.

        0 is the head and the pooler, 1 the last of L layers, L the first, L + 1 the embeddings.

        Raises:
            ModelError: the parameter is in none of these.
        """
        part = name.removeprefix(f"{model.base_model_prefix}.")
        if self.is_head(model, name) or part.startswith(f"{self.pooler_name}."):
            return 0
        count = len(self.layers(model))
        if (inside := self.within_layer(name)) is not None:
            return count - inside[0]
        if part.startswith(f"{self.embeddings_name}."):
            return count + 1
        raise ModelError(f"parameter {name!r}: should be in the embeddings, a layer, the pooler or the head")

    def within_layer(self, name: str) -> tuple[int, str] | None:
        """The layer's index and the name within the layer of a module or parameter; None outside the layers."""
        match = re.search(rf"(?:^|\.){re.escape(self.layers_name)}\.(\d+)\.(.+)$", name)
        return None if match is None else (int(match[1]), match[2])
