"""How the modules of an exported graph are found, and which graphs are refused."""

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from torch import nn

from chirplet.quantizer.graph import exported
from chirplet.quantizer.graph.arithmetic import Arithmetic
from chirplet.quantizer.graph.exported import ExportedGraph
from chirplet.quantizer.graph.modules_in_graph import SCOPES, Finder
from chirplet.quantizer.graph.onnx_int8_nodes import STEPS, Int8
from chirplet.system.error import QuantizationError
from tiny_encoders import logits_of, rectangle, tiny_encoder


def value(name, array=None):
    made = onnx_ir.Value(name=name)
    if array is not None:
        made.const_value = onnx_ir.tensor(np.ascontiguousarray(array), name=name)
    return made


def graph_of_nodes(*nodes):
    return onnx_ir.Graph([], [], nodes=nodes)


def linear(seed, bias=True):
    module = nn.Linear(4, 6, bias=bias)
    random = np.random.default_rng(seed)
    for parameter in module.parameters():
        parameter.data.numpy()[:] = random.normal(size=parameter.shape)
    return module


def weight(module):
    return module.weight.detach().numpy()


def test_a_product_and_its_bias_are_a_linear_layer():
    modules = {"first": linear(0), "second": linear(1)}
    product = onnx_ir.node("MatMul", [value("states"), value("w", weight(modules["second"]).T)])
    added = onnx_ir.node("Add", [value("b", modules["second"].bias.detach().numpy()), product.outputs[0]])
    (found,) = Finder(modules, "").products(graph_of_nodes(product, added))
    assert (found.layer, found.states.name, found.output, found.nodes) == (
        "second", "states", added.outputs[0], (product, added),
    )  # fmt: skip


@pytest.mark.parametrize("transposed", [False, True])
def test_a_general_product_is_a_linear_layer(transposed):
    modules = {"only": linear(0)}
    matrix = weight(modules["only"]) if transposed else weight(modules["only"]).T
    inputs = [value("states"), value("w", matrix), value("b", modules["only"].bias.detach().numpy())]
    node = onnx_ir.node("Gemm", inputs, attributes={"transB": int(transposed)})
    assert [found.layer for found in Finder(modules, "").products(graph_of_nodes(node))] == ["only"]


def test_a_transposed_constant_is_a_weight_too():
    modules = {"only": linear(0, bias=False)}
    turned = onnx_ir.node("Transpose", [value("w", weight(modules["only"]))], attributes={"perm": [1, 0]})
    product = onnx_ir.node("MatMul", [value("states"), turned.outputs[0]])
    assert [found.layer for found in Finder(modules, "").products(graph_of_nodes(turned, product))] == ["only"]


def test_of_modules_with_equal_weights_the_name_beside_the_node_is_taken():
    modules = {"first": linear(0, bias=False), "second": linear(0, bias=False)}
    product = onnx_ir.node("MatMul", [value("states"), value("w", weight(modules["second"]).T)])
    product.metadata_props[SCOPES] = "['', 'model', 'model.second', 'linear']"
    assert [found.layer for found in Finder(modules, "model.").products(graph_of_nodes(product))] == ["second"]


def test_a_bias_of_zeros_may_be_left_out():
    modules = {"only": linear(0)}
    matrix = weight(modules["only"]).T
    for operation in ("MatMul", "Gemm"):
        graph = graph_of_nodes(onnx_ir.node(operation, [value("states"), value("w", matrix)]))
        assert list(Finder(modules, "").products(graph)) == []
    modules["only"].bias.data.zero_()
    for operation in ("MatMul", "Gemm"):
        graph = graph_of_nodes(onnx_ir.node(operation, [value("states"), value("w", matrix)]))
        assert [found.layer for found in Finder(modules, "").products(graph)] == ["only"]


def test_another_weight_or_bias_is_no_linear_layer():
    modules = {"only": linear(0)}
    right, bias = weight(modules["only"]).T, modules["only"].bias.detach().numpy()
    for matrix, summand in ((right + 1, bias), (right, bias + 1)):
        product = onnx_ir.node("MatMul", [value("states"), value("w", matrix)])
        added = onnx_ir.node("Add", [product.outputs[0], value("b", summand)])
        assert list(Finder(modules, "").products(graph_of_nodes(product, added))) == []
    assert list(Finder(modules, "").products(graph_of_nodes(onnx_ir.node("MatMul", [value("a"), value("b")])))) == []


def test_a_table_that_is_read_otherwise_too_is_no_lookup():
    table = nn.Embedding(5, 3)
    constant = value("table", weight(table))
    lookup = onnx_ir.node("Gather", [constant, value("ids")])
    (found,) = Finder({"words": table}, "").lookups(graph_of_nodes(lookup))
    assert (found.layer, found.ids.name) == ("words", "ids")
    onnx_ir.node("Identity", [constant])
    assert list(Finder({"words": table}, "").lookups([lookup])) == []


def test_a_graph_with_a_loop_is_refused(monkeypatch):
    body = onnx_ir.Graph([], [], nodes=[])
    loop = onnx_ir.node("Loop", [value("count"), value("go")], attributes={"body": body})
    program = onnx_ir.Model(graph_of_nodes(loop), ir_version=10)
    monkeypatch.setattr(exported, "exported", lambda model: program)
    with pytest.raises(QuantizationError, match="of a model of type 'ernie' has Loop, which is not supported"):
        ExportedGraph(tiny_encoder("ernie"))


def test_a_model_that_cannot_be_traced_is_refused(monkeypatch):
    model = tiny_encoder("ernie")
    layer = model.base_model.encoder.layer[0]
    monkeypatch.setattr(layer, "forward", lambda states, *_, **__: states[: int(states.sum())])
    with pytest.raises(QuantizationError, match="a model of type 'ernie' cannot be exported as a graph") as error:
        ExportedGraph(model)
    assert str(error.value).endswith("quantizer=torch_int8 and quantizer=bf16 need none")
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_the_attention_that_a_model_had_is_restored():
    model = tiny_encoder("ernie", num_hidden_layers=1)
    model.set_attn_implementation("eager")
    ExportedGraph(model).build(Arithmetic(), {})
    assert model.config._attn_implementation == "eager"


def test_weights_that_are_no_layers_keep_their_values():
    """A convolution is not quantized. Positions without a norm are states, of products that may be computed already."""
    changes = {"norm_rel_ebd": "none", "conv_kernel_size": 3, "conv_act": "gelu", "num_hidden_layers": 1}
    model = tiny_encoder("deberta-v2", **changes)
    graph = ExportedGraph(model)
    assert graph.other_weights == ("deberta.encoder.conv.conv.weight",)
    assert graph.facts == {"weights_in_fp32": "deberta.encoder.conv.conv.weight"}
    ids, mask = rectangle(3, 11)
    exact = logits_of(model, ids, mask).numpy()
    for arithmetic, tolerance in ((Arithmetic(), 1e-4), (Int8((), STEPS), 0.1 * np.ptp(exact))):
        session = onnxruntime.InferenceSession(graph.build(arithmetic, {}).SerializeToString())
        (actual,) = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        np.testing.assert_allclose(actual, exact, atol=tolerance)
