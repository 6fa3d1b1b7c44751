"""The nodes of a classifier's parts, here in fp32 with ONNX's operations. Subclasses use others.

The graph written by hand (`chirplet.quantizer.graph.onnx`) and the exported one (`chirplet.quantizer.graph.exported`)
are both built with them, so each method of quantization is written once.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET, IR_VERSION = 20, 10
MICROSOFT = "com.microsoft"
RENAMED = "exported."
"""What the names of values and nodes begin with that an exporter made."""
MASKED = np.float32(-1e4)
"""Added to the scores of padding. The softmax is then 0 in fp32, and no arithmetic makes a NaN of it."""

Linears = dict[str, nn.Linear]
"""Layers by name."""


@dataclass(frozen=True)
class Attention:
    """The linear layers of an attention, with `heads` of `size` rows each, and the scale of its scores.

    `bias` is the name of a summand of the scores, shape (1, heads, tokens, tokens), or None.
    """

    query: Linears
    key: Linears
    value: Linears
    output: Linears
    heads: int
    size: int
    scale: float
    bias: str | None = None


class Arithmetic:
    """Builds nodes in fp32 with ONNX's operations, and collects them. States have shape (batch, tokens, width)."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._names: set[str] = set()
        self._matrices: dict[str, str] = {}

    def node(
        self, operation: str, *inputs: str, domain: str = "", outputs: int = 1, name: str = "", **attributes: Any
    ) -> Any:
        """Add a node. Returns the name of its output, or a list of names if there are several.

        A name that another node has gets a number: layers that share weights are computed several times.
        """
        name = self._unused(name or f"{operation}_{len(self.nodes)}")
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operation, list(inputs), names, name=name, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def _unused(self, name: str) -> str:
        number, unused = 2, name
        while unused in self._names:
            number, unused = number + 1, f"{name}_{number}"
        self._names.add(unused)
        return unused

    def constant(self, name: str, values: Any) -> str:
        """Add a constant unless the name exists. Returns the name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
        return name

    def weight(self, name: str, values: NDArray[np.float32]) -> str:
        """A matrix in fp32. A name always has the same values, and its nodes are added once."""
        if name not in self._matrices:
            self._matrices[name] = self.stored(name, values)
        return self._matrices[name]

    def stored(self, name: str, values: NDArray[np.float32]) -> str:
        """The constant of a matrix, and the nodes that make it fp32 if it has another type."""
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

    def constant_linear(self, states: str, layers: Linears) -> list[str]:
        """As `linear`, for states that are the same for all texts. The runtime computes them when it opens the file."""
        return self.linear(states, layers)

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
        if attention.bias is not None:
            places = (self.constant(f"place_{index}", np.array([index])) for index in (0, 1, 2))
            attention = replace(attention, bias=self.node("Slice", attention.bias, *places))
        return self.context(query, key, value, mask, attention)

    def context(self, query: str, key: str, value: str, mask: str, attention: Attention) -> str:
        """softmax(scale · Q Kᵀ + bias + mask) V for each head."""
        heads, size = attention.heads, attention.size
        split = self.constant(f"split_heads_{size}", np.array([0, 0, heads, size]))
        query, key, value = (self.node("Reshape", states, split) for states in (query, key, value))
        query, value = (self.node("Transpose", states, perm=[0, 2, 1, 3]) for states in (query, value))
        key = self.node("Transpose", key, perm=[0, 2, 3, 1])
        query = self.node("Mul", query, self.constant("query_scale", np.float32(attention.scale)))
        scores = self.node("MatMul", query, key)
        if attention.bias is not None:
            scores = self.node("Add", scores, attention.bias)
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        context = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        output: str = self.node("Reshape", context, self.constant(f"join_heads_{size}", np.array([0, 0, heads * size])))
        return output

    def gelu(self, states: str) -> str:
        """x Φ(x), with the error function."""
        output: str = self.node("Gelu", states, approximate="none")
        return output

    def gelu_tanh(self, states: str) -> str:
        """The approximation of GELU with tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""
        output: str = self.node("Gelu", states, approximate="tanh")
        return output

    def normalized(self, name: str, norm: nn.LayerNorm, states: str, residual: str) -> str:
        """Layer normalization of the sum of two states."""
        parts = [self.constant(f"{name}.{part}", array(getattr(norm, part))) for part in ("weight", "bias")]
        summed = self.node("Add", states, residual)
        output: str = self.node("LayerNormalization", summed, *parts, axis=-1, epsilon=norm.eps)
        return output


def graph_model(graph: Arithmetic, logits: str, classes: int, metadata: dict[str, str]) -> onnx.ModelProto:
    """The collected nodes as a model: `input_ids` and `attention_mask` (batch, tokens) int64 to `logits`.

    Args:
        graph: the nodes.
        logits: the name of the value that becomes `logits`, fp32, shape (batch, classes).
        classes: the number of classes.
        metadata: the model's properties.
    """
    nodes = [*graph.nodes, helper.make_node("Identity", [logits], ["logits"])]
    rectangle = ["batch", "tokens"]
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, rectangle) for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
    body = helper.make_graph(nodes, "classifier", ids, [output], list(graph.constants.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="chirplet")
    helper.set_model_props(model, metadata)
    return model


def array(parameter: Any) -> NDArray[np.float32]:
    """A parameter's values in fp32."""
    values: NDArray[np.float32] = parameter.detach().float().numpy()
    return values


def is_operation_of(layer: str, operation: str) -> bool:
    """Whether an operation has the name of a layer's product or lookup, perhaps with the number of a repetition."""
    for part in ("product", "lookup"):
        start, separator, number = operation.partition(f"{layer}.{part}")
        if separator and not start and (not number or number.removeprefix("_").isdigit()):
            return True
    return False


def relative_table(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """A bias (heads, tokens, tokens) by relative position, shape (heads, 2 · tokens - 1).

    Column `tokens - 1 + key - query` has the bias of these two positions.
    """
    return np.concatenate([bias[:, :0:-1, 0], bias[:, 0]], axis=1)
