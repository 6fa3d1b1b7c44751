"""A classifier as an ONNX graph, written node by node, for the families that normalize after residual sums.

An exporter that traces the model splits operations that a runtime has into several nodes, and the runtime's optimizer
silently fails to fuse some of them. A graph written by hand uses the fused operations directly. It also computes the
last layer for the first token alone, the only one that the head reads, leaves out rows of attention that pruning has
emptied, and merges positions and token types into one table.
"""

from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
from torch import nn

from chirplet.model.family import family_of
from chirplet.model.family.base import Embeddings, Head, PostNormFamily
from chirplet.quantizer.graph.activation import ACTIVATIONS
from chirplet.quantizer.graph.arithmetic import Arithmetic, array, graph_model, relative_table
from chirplet.quantizer.graph.attention_rows import filled_attention
from chirplet.quantizer.graph.classifier import ClassifierGraph
from chirplet.system.error import QuantizationError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Names = dict[nn.Module, str]


class WrittenGraph(ClassifierGraph):
    """The graph of a model of a `PostNormFamily`.

    Raises:
        QuantizationError: the model is of another family, or its activation is not supported.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        family = post_norm_family(model.config)
        self.model = model
        self.layers = layer_names(model)
        *others, last = (family.matrices(layer) for layer in family.layers(model))
        replaced = {last["key"], last["value"]}.difference(*(matrices.values() for matrices in others))
        self.replaced_in_int8 = frozenset(name for name in self.layers if model.get_submodule(name) in replaced)

    def build(self, arithmetic: Arithmetic, metadata: dict[str, str]) -> onnx.ModelProto:
        return classifier_graph(self.model, arithmetic, metadata)


def classifier_graph(model: "PreTrainedModel", arithmetic: Arithmetic, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph of `model`: `input_ids` and `attention_mask` (batch, tokens) int64 to `logits` (batch, classes) fp32.

    Raises:
        QuantizationError: the model is not of a `PostNormFamily`, or its activation is not supported.
    """
    family, graph = post_norm_family(model.config), arithmetic
    names = {module: name for name, module in model.named_modules()}
    mask = graph.mask("attention_mask")
    states = _embedded(graph, family.embeddings(model), names)
    bias = _attention_bias(graph, family, model)
    layers = family.layers(model)
    for index, layer in enumerate(layers):
        last = index + 1 == len(layers)
        states = _Layer(graph, family, layer, model, names, bias).added(states, mask, last)
    logits = _head(graph, family.head(model), names, states)
    return graph_model(graph, logits, cast(int, model.config.num_labels), metadata)


def layer_names(model: "PreTrainedModel") -> tuple[str, ...]:
    """The layers that can be quantized or excluded: tables of words and positions, and linear layers; lowest first."""
    embeddings = post_norm_family(model.config).embeddings(model)
    tables = (embeddings.words, embeddings.positions)
    return tuple(name for name, module in model.named_modules() if isinstance(module, nn.Linear) or module in tables)


def post_norm_family(config: "PretrainedConfig") -> PostNormFamily:
    """The family of models with this configuration, whose graph is written by hand.

    Raises:
        QuantizationError: the family is not a `PostNormFamily`, or the activation is not in `ACTIVATIONS`.
    """
    family = family_of(config)
    if not isinstance(family, PostNormFamily):
        raise QuantizationError(f"artifact: got a model of type {config.model_type!r}, whose graph is exported instead")
    activation = family.activation(config)
    if activation not in ACTIVATIONS:
        raise QuantizationError(
            f"quantizer: got a model of type {config.model_type!r} with {family.names.activation}={activation!r}, "
            f"should be one of {', '.join(ACTIVATIONS)}; quantizer=torch_int8 and quantizer=bf16 take any"
        )
    return family


def _embedded(graph: Arithmetic, embeddings: Embeddings, names: Names) -> str:
    words, positions = embeddings.words, embeddings.positions
    table = array(positions.weight)[embeddings.position_offset :]
    if embeddings.token_type is not None:
        table = table + array(embeddings.token_type)
    tokens = graph.node("Shape", "input_ids", start=1, end=2)
    zero = graph.constant("place_0", np.array([0]))
    looked_up = graph.rows(names[words], array(words.weight), "Gather", "input_ids")
    sliced = graph.rows(names[positions], table, "Slice", zero, tokens, zero)
    states = graph.normalized(names[embeddings.norm], embeddings.norm, looked_up, sliced)
    if embeddings.projection is not None:
        (states,) = graph.linear(states, {names[embeddings.projection]: embeddings.projection})
    return states


def _attention_bias(graph: Arithmetic, family: PostNormFamily, model: "PreTrainedModel") -> str | None:
    """The family's bias of attention scores, (1, heads, tokens, tokens), from a small table by relative position."""
    longest = family.longest_input(model.config)
    every = family.attention_bias(model, longest)
    if every is None:
        return None
    table = graph.constant("attention_bias.table", relative_table(array(every)))
    tokens = graph.node("Squeeze", graph.node("Shape", "input_ids", start=1, end=2))
    zero, one = (graph.constant(f"whole_{number}", np.array(number)) for number in (0, 1))
    places = graph.node("Range", zero, tokens, one)
    queries = graph.node("Unsqueeze", places, graph.constant("place_1", np.array([1])))
    middle = graph.constant("attention_bias.middle", np.array(longest - 1))
    columns = graph.node("Add", graph.node("Sub", places, queries), middle)
    by_head = graph.node("Gather", table, columns, axis=1)
    bias: str = graph.node("Unsqueeze", by_head, graph.constant("place_0", np.array([0])))
    return bias


class _Layer:
    """The nodes of one encoder layer."""

    def __init__(
        self,
        graph: Arithmetic,
        family: PostNormFamily,
        layer: nn.Module,
        model: "PreTrainedModel",
        names: Names,
        bias: str | None,
    ) -> None:
        self.graph, self.names = graph, names
        self.matrices, self.parts = family.matrices(layer), family.post_norm(layer)
        self.attention = filled_attention(self.matrices, family.sizes(model.config).heads, names, bias)
        self.activation = ACTIVATIONS[family.activation(model.config)]

    def added(self, states: str, mask: str, last: bool) -> str:
        """States in and out; the last layer returns those of the first token only, (batch, 1, width)."""
        graph, names, parts = self.graph, self.names, self.parts
        if last:
            first, second = (graph.constant(f"place_{index}", np.array([index])) for index in (0, 1))
            queried = graph.node("Slice", states, first, second, second)
            context = graph.attend_first(states, queried, mask, self.attention)
        else:
            queried, context = states, graph.attend(states, mask, self.attention)
        (projected,) = graph.linear(context, self.attention.output)
        attended = graph.normalized(names[parts.attention_norm], parts.attention_norm, projected, queried)
        up, down = self.matrices["intermediate"], self.matrices["output"]
        (wide,) = graph.linear(attended, {names[up]: up})
        (narrow,) = graph.linear(self.activation(graph, wide), {names[down]: down})
        return graph.normalized(names[parts.output_norm], parts.output_norm, narrow, attended)


def _head(graph: Arithmetic, head: Head, names: Names, first: str) -> str:
    """Logits (batch, classes) from the first token's states (batch, 1, width)."""
    states = graph.node("Squeeze", first, graph.constant("place_1", np.array([1])))
    (states,) = graph.linear(states, {names[head.dense]: head.dense})
    (logits,) = graph.linear(ACTIVATIONS[head.activation](graph, states), {names[head.output]: head.output})
    return logits
