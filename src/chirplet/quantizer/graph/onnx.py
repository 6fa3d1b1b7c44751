"""A classifier as an ONNX graph, written node by node.

An exporter that traces the model splits operations that a runtime has into several nodes, and the runtime's optimizer
silently fails to fuse some of them. A graph written by hand uses the fused operations directly. It also computes the
last layer for the first token alone, the only one that the head reads, leaves out rows of attention that pruning has
emptied, and merges positions and token types into one table.

`Arithmetic` defines the nodes of a layer's parts, here in fp32 with ONNX's operations. Subclasses use others.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from chirplet.model.family import FAMILIES, Family, family_of
from chirplet.model.family.base import Embeddings, Head, Matrices
from chirplet.system.error import QuantizationError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OPSET, IR_VERSION = 20, 10
MICROSOFT = "com.microsoft"
GELU = "gelu"
"""The supported activation of feed-forward parts, computed with the error function."""
MASKED = np.float32(-1e4)
"""Added to the scores of padding. The softmax is then 0 in fp32, and no arithmetic makes a NaN of it."""

Names = dict[nn.Module, str]
Linears = dict[str, nn.Linear]
"""Layers by name."""


@dataclass(frozen=True)
class Attention:
    """The linear layers of an attention, with `heads` of `size` rows each, and the scale of its scores."""

    query: Linears
    key: Linears
    value: Linears
    output: Linears
    heads: int
    size: int
    scale: float


class Arithmetic:
    """Builds nodes in fp32 with ONNX's operations, and collects them. States have shape (batch, tokens, width)."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def node(
        self, operation: str, *inputs: str, domain: str = "", outputs: int = 1, name: str = "", **attributes: Any
    ) -> Any:
        """Add a node. Returns the name of its output, or a list of names if there are several."""
        name = name or f"{operation}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operation, list(inputs), names, name=name, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, values: Any) -> str:
        """Add a constant unless the name exists. Returns the name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
        return name

    def weight(self, name: str, values: NDArray[np.float32]) -> str:
        """A matrix in fp32."""
        return self.constant(f"{name}.weight", values)

    def rows(self, name: str, table: NDArray[np.float32], operation: str, *which: str) -> str:
        """Rows of a table (rows, width), selected by the operation."""
        output: str = self.node(operation, self.weight(name, table), *which, name=f"{name}.lookup")
        return output

    def linear(self, states: str, layers: Linears) -> list[str]:
        """The outputs of several linear layers for the same states."""
        outputs = []
        for name, layer in layers.items():
            product = self.node("MatMul", states, self.weight(name, array(layer.weight).T), name=f"{name}.product")
            bias = None if layer.bias is None else self.constant(f"{name}.bias", array(layer.bias))
            outputs.append(product if bias is None else self.node("Add", product, bias))
        return outputs

    def mask(self, attention_mask: str) -> str:
        """The mask (batch, tokens) in the form that `attend` takes: here a summand of scores, (batch, 1, 1, tokens)."""
        present = self.node("Cast", attention_mask, to=TensorProto.FLOAT)
        absent = self.node("Sub", self.constant("one", np.float32(1)), present)
        wide = self.node("Unsqueeze", absent, self.constant("places_1_2", np.array([1, 2])))
        output: str = self.node("Mul", wide, self.constant("mask_scale", MASKED))
        return output

    def attend(self, states: str, mask: str, attention: Attention) -> str:
        """The context of all tokens, before the output layer."""
        query, key, value = self.linear(states, attention.query | attention.key | attention.value)
        return self.context(query, key, value, mask, attention)

    def attend_first(self, states: str, first: str, mask: str, attention: Attention) -> str:
        """The context of the first token, with states `first` (batch, 1, width)."""
        key, value = self.linear(states, attention.key | attention.value)
        (query,) = self.linear(first, attention.query)
        return self.context(query, key, value, mask, attention)

    def context(self, query: str, key: str, value: str, mask: str, attention: Attention) -> str:
        """softmax(scale · Q Kᵀ + mask) V for each head."""
        heads, size = attention.heads, attention.size
        split = self.constant(f"split_heads_{size}", np.array([0, 0, heads, size]))
        query, key, value = (self.node("Reshape", states, split) for states in (query, key, value))
        query, value = (self.node("Transpose", states, perm=[0, 2, 1, 3]) for states in (query, value))
        key = self.node("Transpose", key, perm=[0, 2, 3, 1])
        query = self.node("Mul", query, self.constant("query_scale", np.float32(attention.scale)))
        weights = self.node("Softmax", self.node("Add", self.node("MatMul", query, key), mask), axis=-1)
        context = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        output: str = self.node("Reshape", context, self.constant(f"join_heads_{size}", np.array([0, 0, heads * size])))
        return output

    def gelu(self, states: str) -> str:
        """x Φ(x), with the error function."""
        output: str = self.node("Gelu", states, approximate="none")
        return output

    def normalized(self, name: str, norm: nn.LayerNorm, states: str, residual: str) -> str:
        """Layer normalization of the sum of two states."""
        parts = [self.constant(f"{name}.{part}", array(getattr(norm, part))) for part in ("weight", "bias")]
        summed = self.node("Add", states, residual)
        output: str = self.node("LayerNormalization", summed, *parts, axis=-1, epsilon=norm.eps)
        return output


def classifier_graph(model: "PreTrainedModel", arithmetic: Arithmetic, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph of `model`: `input_ids` and `attention_mask` (batch, tokens) int64 to `logits` (batch, classes) fp32.

    Raises:
        QuantizationError: the model's architecture is not supported.
    """
    check_known(model)
    family, graph = family_of(model), arithmetic
    names = {module: name for name, module in model.named_modules()}
    mask = graph.mask("attention_mask")
    states = _embedded(graph, family.embeddings(model), names)
    layers, heads = list(family.layers(model)), family.sizes(model.config).heads
    for layer in layers:
        states = _layer(graph, family, layer, heads, names, states, mask, last=layer is layers[-1])
    graph.nodes.append(helper.make_node("Identity", [_head(graph, family.head(model), names, states)], ["logits"]))
    rectangle = ["batch", "tokens"]
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, rectangle) for name in ("input_ids", "attention_mask")
    ]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", model.config.num_labels])
    body = helper.make_graph(graph.nodes, "classifier", ids, [logits], list(graph.constants.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    graph_model = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="chirplet")
    helper.set_model_props(graph_model, metadata)
    return graph_model


def layer_names(model: "PreTrainedModel") -> tuple[str, ...]:
    """The layers that can be quantized or excluded: tables of words and positions, and linear layers; lowest first."""
    embeddings = family_of(model).embeddings(model)
    tables = (embeddings.words, embeddings.positions)
    return tuple(name for name, module in model.named_modules() if isinstance(module, nn.Linear) or module in tables)


def fewest_inputs(model: "PreTrainedModel") -> int:
    """The fewest inputs of a linear layer in the graph of `model`.

    Raises:
        QuantizationError: the model's architecture is not supported.
    """
    check_known(model)
    names = {module: name for name, module in model.named_modules()}
    family, heads = family_of(model), family_of(model).sizes(model.config).heads
    attentions = [filled_attention(family.matrices(layer), heads, names) for layer in family.layers(model)]
    outputs = [layer for attention in attentions for layer in attention.output.values()]
    return min(layer.in_features for layer in (*model.modules(), *outputs) if isinstance(layer, nn.Linear))


def check_known(model: "PreTrainedModel") -> None:
    """Check that `classifier_graph` supports the model's architecture.

    Raises:
        QuantizationError: it does not.
    """
    family, kind = family_of(model), model.config.model_type
    activation = family.activation(model.config)
    if not family.writes_graph or activation != GELU:
        should = f"one of {', '.join(name for name, one in FAMILIES.items() if one.writes_graph)} with {GELU!r}"
        raise QuantizationError(f"artifact: got a model of type {kind!r} with {activation!r}, should be {should}")


def array(parameter: Any) -> NDArray[np.float32]:
    """A parameter's values in fp32."""
    values: NDArray[np.float32] = parameter.detach().float().numpy()
    return values


def _embedded(graph: Arithmetic, embeddings: Embeddings, names: Names) -> str:
    words, positions = embeddings.words, embeddings.positions
    table = array(positions.weight)[embeddings.position_offset :] + array(embeddings.token_type)
    tokens = graph.node("Shape", "input_ids", start=1, end=2)
    zero = graph.constant("place_0", np.array([0]))
    looked_up = graph.rows(names[words], array(words.weight), "Gather", "input_ids")
    sliced = graph.rows(names[positions], table, "Slice", zero, tokens, zero)
    return graph.normalized(names[embeddings.norm], embeddings.norm, looked_up, sliced)


def _layer(
    graph: Arithmetic, family: Family, layer: nn.Module, heads: int, names: Names, states: str, mask: str, last: bool
) -> str:
    """States in and out; the last layer returns those of the first token only, (batch, 1, width)."""
    matrices, parts = family.matrices(layer), family.post_norm(layer)
    attention = filled_attention(matrices, heads, names)
    if last:
        first, second = (graph.constant(f"place_{index}", np.array([index])) for index in (0, 1))
        queried = graph.node("Slice", states, first, second, second)
        context = graph.attend_first(states, queried, mask, attention)
    else:
        queried, context = states, graph.attend(states, mask, attention)
    (projected,) = graph.linear(context, attention.output)
    attended = graph.normalized(names[parts.attention_norm], parts.attention_norm, projected, queried)
    (wide,) = graph.linear(attended, {names[matrices.intermediate]: matrices.intermediate})
    (narrow,) = graph.linear(graph.gelu(wide), {names[matrices.output]: matrices.output})
    return graph.normalized(names[parts.output_norm], parts.output_norm, narrow, attended)


def filled_attention(matrices: Matrices, heads: int, names: Names) -> Attention:
    """A layer's attention without the rows that are zero at the same index of all heads.

    Structured pruning leaves such rows, since heads in `config.json` must fill the width
    (`chirplet.model.structure.narrowing`). Scores and context are the same without them.
    """
    parts, output = (matrices.query, matrices.key, matrices.value), matrices.attention_output
    size = matrices.query.out_features // heads
    rows = torch.stack([_is_filled(part) for part in parts] + [(output.weight != 0).any(dim=0)])
    filled = rows.any(dim=0).view(heads, size).any(dim=0)
    filled[0] = True
    kept = filled.repeat(heads).nonzero().flatten()
    query, key, value = ({names[part]: _rows_of(part, kept)} for part in parts)
    narrow = _linear(output.weight[:, kept], output.bias)
    return Attention(query, key, value, {names[output]: narrow}, heads, len(kept) // heads, size**-0.5)


def _is_filled(layer: nn.Linear) -> torch.Tensor:
    """Whether each output of a layer may be non-zero."""
    filled = (layer.weight != 0).any(dim=1)
    return filled if layer.bias is None else filled | (layer.bias != 0)


def _rows_of(layer: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    return _linear(layer.weight[kept], None if layer.bias is None else layer.bias[kept])


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear


def _head(graph: Arithmetic, head: Head, names: Names, first: str) -> str:
    """Logits (batch, classes) from the first token's states (batch, 1, width)."""
    states = graph.node("Squeeze", first, graph.constant("place_1", np.array([1])))
    (states,) = graph.linear(states, {names[head.dense]: head.dense})
    (logits,) = graph.linear(graph.node("Tanh", states), {names[head.output]: head.output})
    return logits
