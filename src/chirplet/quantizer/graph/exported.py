"""The graph of any model that PyTorch can export, with its linear layers and embeddings built in any arithmetic.

Everything else is as the exporter wrote it: norms, activations, attention scores, positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import onnx
import onnx_ir
from torch import nn

from chirplet.quantizer.graph.arithmetic import MICROSOFT, RENAMED, Arithmetic, array, graph_model
from chirplet.quantizer.graph.classifier import ClassifierGraph
from chirplet.quantizer.graph.export import PREFIX, exported
from chirplet.quantizer.graph.modules_in_graph import Finder, Lookup, Product
from chirplet.quantizer.trial.small_model import check_share
from chirplet.system.error import QuantizationError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = {"input_ids", "attention_mask"}


@dataclass(frozen=True)
class Products:
    """The outputs of several linear layers for the same states, by the layers' names."""

    states: str
    outputs: dict[str, list[str]]


@dataclass(frozen=True)
class Rows:
    """The rows `ids` of an embedding."""

    layer: str
    ids: str
    output: str


Step = Products | Rows | onnx.NodeProto


class ExportedGraph(ClassifierGraph):
    """The graph of any model that can be exported.

    Raises:
        QuantizationError: the model cannot be exported, its graph has control flow, or its weights are not in
            linear layers.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        graph, kind = exported(model).graph, model.config.model_type
        foreign = {node.op_type for node in graph if not _is_plain(node)}
        self.classes = cast(int, model.config.num_labels)
        self.modules = dict(model.named_modules())
        finder = Finder(self.modules, PREFIX)
        products, lookups = list(finder.products(graph)), list(finder.lookups(graph))
        if foreign:
            raise QuantizationError(
                f"quantizer: the exported graph of a model of type {kind!r} has {', '.join(sorted(foreign))}, which is "
                "not supported; quantizer=torch_int8 and quantizer=bf16 need no graph"
            )
        used = {product.layer for product in products} | {lookup.layer for lookup in lookups}
        self.layers = tuple(name for name in self.modules if name in used)
        check_share(model, self.layers)
        self.logits = _name(graph.outputs[0])
        self.steps = _read(list(_steps(graph, products, lookups)), self.logits)
        self.of_texts = _of_texts(self.steps)
        self.tables: dict[str, str] = {}  # embeddings that are used as a whole, by the name of the constant
        self.constants: dict[str, onnx.TensorProto] = {}
        self._keep_constants(graph, finder)

    def _keep_constants(self, graph: onnx_ir.Graph, finder: Finder) -> None:
        """The constants of other nodes than those of `layers`."""
        read = {name for step in self.steps for name in _inputs_and_outputs(step)[0]}
        modules = self.modules.items()
        parameters = {f"{path}.{name}" for path, module in modules for name in module._parameters}
        others = []
        for value in graph.initializers.values():
            name = _name(value)
            if name not in read or value.const_value is None:
                continue
            if (table := finder.embedding(value)) is not None and table not in self.layers:
                self.tables[name] = table
                continue
            self.constants[name] = onnx_ir.serde.serialize_tensor(value.const_value)
            self.constants[name].name = name
            parameter = name.removeprefix(RENAMED).removeprefix(PREFIX)
            if parameter in parameters and len(value.const_value.shape) > 1:
                others.append(parameter)
        self.other_weights = tuple(others)

    def build(self, arithmetic: Arithmetic, metadata: dict[str, str]) -> onnx.ModelProto:
        graph, built = arithmetic, _Built()
        graph.constants |= self.constants
        for name, table in self.tables.items():
            built[name] = graph.weight(table, array(self.modules[table].weight))
        for step in self.steps:
            if isinstance(step, Products):
                layers = {name: cast(nn.Linear, self.modules[name]) for name in step.outputs}
                linear = graph.linear if step.states in self.of_texts else graph.constant_linear
                for same, output in zip(step.outputs.values(), linear(built[step.states], layers), strict=True):
                    built |= dict.fromkeys(same, output)
            elif isinstance(step, Rows):
                table_values = array(self.modules[step.layer].weight)
                built[step.output] = graph.rows(step.layer, table_values, "Gather", built[step.ids])
            else:
                node = onnx.NodeProto()
                node.CopyFrom(step)
                node.input[:] = [built[name] for name in step.input]
                graph.nodes.append(node)
        return graph_model(graph, built[self.logits], self.classes, metadata)


class _Built(dict[str, str]):
    """Names of values in the built graph by those in the exported one; the same names where nothing else is known."""

    def __missing__(self, name: str) -> str:
        return name


def _steps(graph: onnx_ir.Graph, products: list[Product], lookups: list[Lookup]) -> Iterator[Step]:
    """The steps in their order. All products of the same states are one step, where the first of them was."""
    groups: dict[str, dict[str, list[str]]] = {}
    for product in products:
        outputs = groups.setdefault(_name(product.states), {})
        outputs.setdefault(product.layer, []).append(_name(product.output))
    starts = {product.nodes[0]: _name(product.states) for product in products}
    done = {node for product in products for node in product.nodes}
    rows = {lookup.node: Rows(lookup.layer, _name(lookup.ids), _name(lookup.output)) for lookup in lookups}
    for node in graph:
        if node in rows:
            yield rows[node]
        elif node not in done:
            yield _proto(node)
        elif (states := starts.get(node)) in groups:
            yield Products(states, groups.pop(states))


def _read(steps: list[Step], logits: str) -> list[Step]:
    """The steps that the logits depend on: weights that the exporter transposes are built otherwise."""
    read: set[str] = {logits}
    kept: list[Step] = []
    for step in reversed(steps):
        inputs, outputs = _inputs_and_outputs(step)
        if read.intersection(outputs):
            read.update(inputs)
            kept.append(step)
    return kept[::-1]


def _of_texts(steps: list[Step]) -> set[str]:
    """The values that depend on the texts."""
    values = set(INPUTS)
    for step in steps:
        inputs, outputs = _inputs_and_outputs(step)
        if values.intersection(inputs):
            values.update(outputs)
    return values


def _inputs_and_outputs(step: Step) -> tuple[list[str], list[str]]:
    if isinstance(step, Products):
        return [step.states], [name for same in step.outputs.values() for name in same]
    if isinstance(step, Rows):
        return [step.ids], [step.output]
    return list(step.input), list(step.output)


def _proto(node: onnx_ir.Node) -> onnx.NodeProto:
    proto = onnx_ir.serde.serialize_node(node)
    proto.name = f"{RENAMED}{node.name}"
    proto.input[:] = ["" if value is None else _name(value) for value in node.inputs]
    proto.output[:] = [_name(value) for value in node.outputs]
    del proto.metadata_props[:]
    proto.ClearField("doc_string")
    return proto


def _is_plain(node: onnx_ir.Node) -> bool:
    """Whether a node is an operation of ONNX or ONNX Runtime without a graph of its own, as loops have."""
    graphs = {onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS}
    return node.domain in {"", MICROSOFT} and all(one.type not in graphs for one in node.attributes.values())


def _name(value: onnx_ir.Value) -> str:
    """The name of an exported value: it cannot be one of `Arithmetic`'s."""
    return str(value.name) if value.name in INPUTS else f"{RENAMED}{value.name}"
