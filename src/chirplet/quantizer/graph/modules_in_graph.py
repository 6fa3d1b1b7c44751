"""Find the linear layers and the embeddings of a model in its exported graph.

The exporter writes beside each node the names of the modules which it is in. A node is taken for a module's only if it
has the module's weights too.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir
from numpy.typing import NDArray
from torch import nn

from chirplet.quantizer.graph.arithmetic import array

SCOPES = "pkg.torch.onnx.name_scopes"
"""The key of a node's metadata that has the names of the modules which it is in, the outermost first."""


@dataclass(frozen=True)
class Product:
    """A linear layer's `output` for `states`; `nodes` compute it."""

    layer: str
    states: onnx_ir.Value
    output: onnx_ir.Value
    nodes: tuple[onnx_ir.Node, ...]


@dataclass(frozen=True)
class Lookup:
    """The rows `ids` of an embedding; `node` selects them."""

    layer: str
    ids: onnx_ir.Value
    output: onnx_ir.Value
    node: onnx_ir.Node


class Finder:
    """Finds the modules of one model.

    Args:
        modules: the model's modules by name.
        prefix: what the names in the graph begin with.
    """

    def __init__(self, modules: dict[str, nn.Module], prefix: str) -> None:
        self.modules = modules
        self.prefix = prefix

    def products(self, graph: onnx_ir.Graph) -> Iterator[Product]:
        """The products of `nn.Linear` modules, in the order of the graph."""
        for node in graph:
            if node.op_type not in {"MatMul", "Gemm"}:
                continue
            states, matrix = node.inputs[:2]
            weight = _constant(matrix)
            if states is None or weight is None or weight.ndim != 2:
                continue
            product = (self._of_matmul if node.op_type == "MatMul" else self._of_gemm)(node, states, weight)
            if product is not None:
                yield product

    def lookups(self, graph: onnx_ir.Graph) -> Iterator[Lookup]:
        """The lookups of embeddings that are used for nothing else."""
        for node in graph:
            if node.op_type != "Gather" or ("axis" in node.attributes and node.attributes["axis"].value != 0):
                continue
            table, ids = node.inputs
            values = _constant(table)
            if table is None or ids is None or values is None or values.ndim != 2:
                continue
            if any(user.op_type != "Gather" for user, _ in table.uses()):
                continue
            name = self._name(node, values, nn.Embedding)
            if name is not None:
                yield Lookup(name, ids, node.outputs[0], node)

    def embedding(self, value: onnx_ir.Value) -> str | None:
        """The name of the embedding whose table a constant is; None if it is none."""
        values = _constant(value)
        return None if values is None or values.ndim != 2 else self._by_values(values, nn.Embedding)

    def _of_matmul(self, node: onnx_ir.Node, states: onnx_ir.Value, weight: NDArray[np.float32]) -> Product | None:
        name, product = self._name(node, weight.T, nn.Linear), node.outputs[0]
        if name is None:
            return None
        # The bias is a node of its own, and the only one that reads the product.
        uses = list(product.uses())
        if len(uses) == 1:
            user, index = uses[0]
            if user.op_type == "Add" and self._is_bias(name, user.inputs[1 - index]):
                return Product(name, states, user.outputs[0], (node, user))
        return Product(name, states, product, (node,)) if self._is_bias(name, None) else None

    def _of_gemm(self, node: onnx_ir.Node, states: onnx_ir.Value, weight: NDArray[np.float32]) -> Product | None:
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        if any(attributes.get(name, 1) != 1 for name in ("alpha", "beta")) or attributes.get("transA", 0):
            return None
        name = self._name(node, weight if attributes.get("transB", 0) else weight.T, nn.Linear)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        return (
            None if name is None or not self._is_bias(name, bias) else Product(name, states, node.outputs[0], (node,))
        )

    def _is_bias(self, name: str, value: onnx_ir.Value | None) -> bool:
        """Whether a value is a layer's bias. The exporter leaves out a bias of zeros."""
        bias: Any = self.modules[name].bias
        if value is None:
            return bias is None or not bias.any()
        values = _constant(value)
        return bias is not None and values is not None and np.array_equal(values, array(bias))

    def _name(self, node: onnx_ir.Node, weight: NDArray[np.float32], kind: type[nn.Module]) -> str | None:
        """The name of the module of a node with this weight: the innermost that the node is in, else any."""
        for scope in reversed(ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))):
            name = str(scope).removeprefix(self.prefix)
            if self._has(name, weight, kind):
                return name
        return self._by_values(weight, kind)

    def _by_values(self, weight: NDArray[np.float32], kind: type[nn.Module]) -> str | None:
        return next((name for name in self.modules if self._has(name, weight, kind)), None)

    def _has(self, name: str, weight: NDArray[np.float32], kind: type[nn.Module]) -> bool:
        module = self.modules.get(name)
        if not isinstance(module, kind):
            return False
        expected: Any = module.weight
        return tuple(expected.shape) == weight.shape and np.array_equal(weight, array(expected))


def _constant(value: onnx_ir.Value | None) -> NDArray[np.float32] | None:
    """The values of a constant in fp32, or of one that is transposed; None for other values."""
    if value is None:
        return None
    if value.const_value is not None:
        return _in_fp32(value.const_value)
    producer = value.producer()
    if producer is not None and producer.op_type == "Transpose" and list(producer.attributes["perm"].value) == [1, 0]:
        inner = _constant(producer.inputs[0])
        return None if inner is None else inner.T
    return None


def _in_fp32(tensor: onnx_ir.TensorProtocol) -> NDArray[np.float32] | None:
    return np.asarray(tensor.numpy()) if tensor.dtype == onnx_ir.DataType.FLOAT else None
