"""A classifier as an ONNX graph, written node by node.

An exporter that traces the model gives several nodes for each that a runtime has, and an optimizer then looks for
patterns to fuse; what it misses is lost in silence. Written out, the graph is what the runtime computes best, and it
does what no exporter does: the last layer is computed for the first token alone, which is all that the head reads,
rows of attention that pruning has emptied are left out, and positions and token types are one table.

`Arithmetic` says how a layer's parts become nodes: here in fp32, by ONNX's own operations; elsewhere in others.
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
"""The activation of feed-forward parts, by error function."""
MASKED = np.float32(-1e4)
"""What is added to the score of padding: its share is 0 in fp32, and no arithmetic makes a NaN of it."""

Names = dict[nn.Module, str]
Linears = dict[str, nn.Linear]
"""Layers by name."""


@dataclass(frozen=True)
class Attention:
    """The linear layers of one, `heads` of `size` rows each, and the factor of its scores."""

    query: Linears
    key: Linears
    value: Linears
    output: Linears
    heads: int
    size: int
    scale: float


class Arithmetic:
    """Nodes in fp32, by ONNX's own operations, and the graph that grows; states have shape (batch, tokens, width)."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def node(
        self, operation: str, *inputs: str, domain: str = "", outputs: int = 1, name: str = "", **attributes: Any
    ) -> Any:
        """Add a node; the name of its output, or a list of names where there are several."""
        name = name or f"{operation}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operation, list(inputs), names, name=name, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, values: Any) -> str:
        """Add a constant, once under one name; the name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
        return name

    def weight(self, name: str, values: NDArray[np.float32]) -> str:
        """A matrix that stands in fp32."""
        return self.constant(f"{name}.weight", values)

    def rows(self, name: str, table: NDArray[np.float32], operation: str, *which: str) -> str:
        """Rows of a table (rows, width), which the operation takes out."""
        found: str = self.node(operation, self.weight(name, table), *which, name=f"{name}.lookup")
        return found

    def linear(self, states: str, layers: Linears) -> list[str]:
        """What each of the layers makes of the same states."""
        found = []
        for name, layer in layers.items():
            product = self.node("MatMul", states, self.weight(name, array(layer.weight).T), name=f"{name}.product")
            bias = None if layer.bias is None else self.constant(f"{name}.bias", array(layer.bias))
            found.append(product if bias is None else self.node("Add", product, bias))
        return found

    def mask(self, attention_mask: str) -> str:
        """What `attend` takes of the mask (batch, tokens): here what is added to scores, (batch, 1, 1, tokens)."""
        present = self.node("Cast", attention_mask, to=TensorProto.FLOAT)
        absent = self.node("Sub", self.constant("one", np.float32(1)), present)
        wide = self.node("Unsqueeze", absent, self.constant("places_1_2", np.array([1, 2])))
        found: str = self.node("Mul", wide, self.constant("mask_scale", MASKED))
        return found

    def attend(self, states: str, mask: str, attention: Attention) -> str:
        """What all tokens take from each other, before the output layer."""
        query, key, value = self.linear(states, attention.query | attention.key | attention.value)
        return self.context(query, key, value, mask, attention)

    def attend_first(self, states: str, first: str, mask: str, attention: Attention) -> str:
        """What the first token, whose states are (batch, 1, width), takes from all."""
        key, value = self.linear(states, attention.key | attention.value)
        (query,) = self.linear(first, attention.query)
        return self.context(query, key, value, mask, attention)

    def context(self, query: str, key: str, value: str, mask: str, attention: Attention) -> str:
        """softmax(scale · Q Kᵀ + mask) V, head by head."""
        heads, size = attention.heads, attention.size
        split = self.constant(f"split_heads_{size}", np.array([0, 0, heads, size]))
        query, key, value = (self.node("Reshape", states, split) for states in (query, key, value))
        query, value = (self.node("Transpose", states, perm=[0, 2, 1, 3]) for states in (query, value))
        key = self.node("Transpose", key, perm=[0, 2, 3, 1])
        query = self.node("Mul", query, self.constant("query_scale", np.float32(attention.scale)))
        shares = self.node("Softmax", self.node("Add", self.node("MatMul", query, key), mask), axis=-1)
        context = self.node("Transpose", self.node("MatMul", shares, value), perm=[0, 2, 1, 3])
        found: str = self.node("Reshape", context, self.constant(f"join_heads_{size}", np.array([0, 0, heads * size])))
        return found

    def gelu(self, states: str) -> str:
        """x Φ(x), by the error function."""
        found: str = self.node("Gelu", states, approximate="none")
        return found

    def normalized(self, name: str, norm: nn.LayerNorm, states: str, residual: str) -> str:
        """Layer normalisation of the sum of two states."""
        parts = [self.constant(f"{name}.{part}", array(getattr(norm, part))) for part in ("weight", "bias")]
        summed = self.node("Add", states, residual)
        found: str = self.node("LayerNormalization", summed, *parts, axis=-1, epsilon=norm.eps)
        return found


def classifier_graph(model: "PreTrainedModel", arithmetic: Arithmetic, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph of `model`: `input_ids` and `attention_mask` (batch, tokens) int64 to `logits` (batch, classes) fp32.

    Raises:
        QuantizationError: the model is of an architecture that this does not know.
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
    made = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="chirplet")
    helper.set_model_props(made, metadata)
    return made


def layer_names(model: "PreTrainedModel") -> tuple[str, ...]:
    """What can be quantized or kept: tables of words and positions, and linear layers; lowest first."""
    embeddings = family_of(model).embeddings(model)
    tables = (embeddings.words, embeddings.positions)
    return tuple(name for name, module in model.named_modules() if isinstance(module, nn.Linear) or module in tables)


def fewest_inputs(model: "PreTrainedModel") -> int:
    """Inputs of the linear layer that has fewest in the graph of `model`.

    Raises:
        QuantizationError: as of `classifier_graph`.
    """
    check_known(model)
    names = {module: name for name, module in model.named_modules()}
    family, heads = family_of(model), family_of(model).sizes(model.config).heads
    attention = [filled_attention(family.matrices(layer), heads, names) for layer in family.layers(model)]
    outputs = [layer for one in attention for layer in one.output.values()]
    return min(layer.in_features for layer in (*model.modules(), *outputs) if isinstance(layer, nn.Linear))


def check_known(model: "PreTrainedModel") -> None:
    """See that the model is of an architecture that `classifier_graph` knows.

    Raises:
        QuantizationError: it is not.
    """
    family, kind = family_of(model), model.config.model_type
    activation = family.activation(model.config)
    if not family.writes_graph or activation != GELU:
        should = f"{', '.join(name for name, one in FAMILIES.items() if one.writes_graph)} with {GELU!r}"
        raise QuantizationError(f"artifact: its model is of type {kind!r} with {activation!r}; should be {should}")


def array(parameter: Any) -> NDArray[np.float32]:
    """A parameter's values."""
    values: NDArray[np.float32] = parameter.detach().float().numpy()
    return values


def _embedded(graph: Arithmetic, embeddings: Embeddings, names: Names) -> str:
    words, positions = embeddings.words, embeddings.positions
    table = array(positions.weight)[embeddings.position_offset :] + array(embeddings.token_type)
    tokens = graph.node("Shape", "input_ids", start=1, end=2)
    zero = graph.constant("place_0", np.array([0]))
    looked_up = graph.rows(names[words], array(words.weight), "Gather", "input_ids")
    placed = graph.rows(names[positions], table, "Slice", zero, tokens, zero)
    return graph.normalized(names[embeddings.norm], embeddings.norm, looked_up, placed)


def _layer(
    graph: Arithmetic, family: Family, layer: nn.Module, heads: int, names: Names, states: str, mask: str, last: bool
) -> str:
    """States in and out; of the last layer the first token's alone, (batch, 1, width)."""
    matrices, parts = family.matrices(layer), family.post_norm(layer)
    attention = filled_attention(matrices, heads, names)
    if last:
        first, second = (graph.constant(f"place_{place}", np.array([place])) for place in (0, 1))
        asking = graph.node("Slice", states, first, second, second)
        context = graph.attend_first(states, asking, mask, attention)
    else:
        asking, context = states, graph.attend(states, mask, attention)
    (projected,) = graph.linear(context, attention.output)
    attended = graph.normalized(names[parts.attention_norm], parts.attention_norm, projected, asking)
    (wide,) = graph.linear(attended, {names[matrices.intermediate]: matrices.intermediate})
    (narrow,) = graph.linear(graph.gelu(wide), {names[matrices.output]: matrices.output})
    return graph.normalized(names[parts.output_norm], parts.output_norm, narrow, attended)


def filled_attention(matrices: Matrices, heads: int, names: Names) -> Attention:
    """A layer's attention without what is zero at the same place of all of its heads.

    Structured pruning leaves so, since `config.json` has heads that fill the width alone
    (`chirplet.model.structure.narrowing`): scores and context are the same without it.
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
    """Which outputs of a layer are not always zero."""
    filled = (layer.weight != 0).any(dim=1)
    return filled if layer.bias is None else filled | (layer.bias != 0)


def _rows_of(layer: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    return _linear(layer.weight[kept], None if layer.bias is None else layer.bias[kept])


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return made


def _head(graph: Arithmetic, head: Head, names: Names, first: str) -> str:
    """Logits (batch, classes) of the first token's states (batch, 1, width)."""
    states = graph.node("Squeeze", first, graph.constant("place_1", np.array([1])))
    (states,) = graph.linear(states, {names[head.dense]: head.dense})
    (logits,) = graph.linear(graph.node("Tanh", states), {names[head.output]: head.output})
    return logits
