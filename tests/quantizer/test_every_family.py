"""Graphs of every family compute what transformers computes, and every quantizer takes them."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from chirplet.data.batching.tokens import Tokens
from chirplet.model.family import FAMILIES, family_of
from chirplet.model.family.base import PostNormFamily
from chirplet.quantizer.base import Calibration
from chirplet.quantizer.graph import exported, of_model
from chirplet.quantizer.graph.arithmetic import Arithmetic
from chirplet.quantizer.graph.exported import ExportedGraph
from chirplet.quantizer.graph.of_model import fewest_inputs, graph_of
from chirplet.quantizer.graph.onnx_int8_nodes import STEPS, Int8
from chirplet.quantizer.onnx_int8 import OnnxInt8
from chirplet.runtime.open import open_runtime
from quantizing import QUANTIZERS, quantizer
from tiny_encoders import PADDING, SPECIFIC, logits_of, rectangle, tiny_encoder

SAME = {"camembert", "data2vec-text", "xlm-roberta"}
"""Of RoBERTa's family."""
SIMILAR = {"bert", "roberta", "distilbert", "electra", "ernie", "roberta-prelayernorm"}
"""Have a contract of their own, or no operation that these have not: for OpenVINO, which compiles slowly."""
WEIGHTS = {"deberta-v2"}
"""Has OpenVINO's weights in int8 here: beside them the operations are those of `openvino_int8`."""
RECTANGLES = [rectangle(4, tokens) for tokens in (5, 12, 30)]


def test_every_family_is_here():
    assert SPECIFIC.keys() >= FAMILIES.keys()


@pytest.fixture(scope="module", params=SPECIFIC)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return tiny_encoder(kind)


@pytest.fixture(scope="module", autouse=True)
def exported_once():
    """Quantizers export the same unchanged model here, and try one of its kind before: each takes seconds."""
    check, tried = of_model.check_graph, set()

    def check_once(config):
        if config.model_type not in tried:
            check(config)
            tried.add(config.model_type)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exported, "exported", cache(exported.exported))
        patch.setattr(of_model, "check_graph", check_once)
        yield


@pytest.fixture(scope="module")
def graph(model):
    return graph_of(model)


class Unrounded(Int8):
    """The nodes of int8 with all layers excluded, without rounding their weights."""

    stored, rows = Arithmetic.stored, Arithmetic.rows


def answers(proto, ids, mask):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]


@pytest.mark.parametrize("unrounded", [False, True])
def test_logits_are_those_of_transformers(model, graph, unrounded):
    longest = family_of(model).longest_input(model.config)
    proto = graph.build(Unrounded(graph.layers, STEPS) if unrounded else Arithmetic(), {"precision": "fp32"})
    onnx.checker.check_model(proto)
    assert [(one.key, one.value) for one in proto.metadata_props] == [("precision", "fp32")]
    for shape in ((1, 1), (1, 2), (5, 17), (2, longest)):
        ids, mask = rectangle(*shape)
        np.testing.assert_allclose(answers(proto, ids, mask), logits_of(model, ids, mask), atol=1e-4, err_msg=shape)


def test_padding_changes_nothing(model, graph):
    proto = graph.build(Arithmetic(), {})
    ids, mask = rectangle(1, 9)
    padded = [torch.nn.functional.pad(values, (0, 11), value=value) for values, value in ((ids, PADDING), (mask, 0))]
    np.testing.assert_allclose(answers(proto, *padded), answers(proto, ids, mask), atol=1e-4)


def test_layers_are_the_linear_layers_and_the_embeddings_of_words(model, graph):
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    tables = set(graph.layers) - linears
    assert linears <= set(graph.layers) and len(graph.layers) == len(set(graph.layers))
    assert all(isinstance(model.get_submodule(name), nn.Embedding) for name in tables)
    assert any(model.get_submodule(name) is model.get_input_embeddings() for name in tables)
    assert graph.other_weights == ()
    assert isinstance(graph, ExportedGraph) != isinstance(family_of(model), PostNormFamily)
    assert fewest_inputs(model) == min(model.get_submodule(name).in_features for name in linears)


@pytest.mark.parametrize("arithmetic", [Arithmetic, lambda: Int8((), STEPS)])
def test_names_of_nodes_and_values_are_unique(graph, arithmetic):
    nodes = graph.build(arithmetic(), {}).graph.node
    names, values = [node.name for node in nodes[:-1]], [value for node in nodes for value in node.output]
    assert len(set(names)) == len(names) and len(set(values)) == len(values)


def test_matrices_are_stored_once_in_int8(model, graph):
    stored = [tensor for tensor in graph.build(Int8((), STEPS), {}).graph.initializer if tensor.data_type == 3]
    count = sum(np.prod(tensor.dims) for tensor in stored if not tensor.name.endswith("zero_point"))
    modules = {module for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)}
    expected = sum(module.weight.numel() for module in modules)
    # Tables of token types are added to others, a bias by relative position is computed, and rows may be unused.
    assert 0.9 * expected <= count <= expected


def test_layers_that_int8_never_computes_cannot_be_excluded(model, graph):
    layers = OnnxInt8(reduce_range=False).prepare(model, calibration(), None).layers
    missing = set(graph.layers) - set(layers)
    shared = model.config.model_type == "albert"
    assert len(missing) == (0 if shared or isinstance(graph, ExportedGraph) else 2)


def calibration():
    rows = [row[present == 1].numpy() for ids, mask in RECTANGLES for row, present in zip(ids, mask, strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Calibration(Tokens(np.concatenate(rows).astype(np.int32), offsets.astype(np.int64)), PADDING)


def quantized(folder):
    runtime = open_runtime(folder, accelerator="cpu", threads=1, precision="stored")
    return np.concatenate([runtime.logits(ids.numpy(), mask.numpy()) for ids, mask in RECTANGLES])


@pytest.mark.parametrize("name", [name for name in QUANTIZERS if name != "qat"])  # which writes what onnx_int8 does
def test_every_quantizer_takes_it(model, name, tmp_path):
    kind = model.config.model_type
    skipped = {"openvino_int8": SIMILAR, "openvino_int8_weights": SPECIFIC.keys() - WEIGHTS}
    if kind in SAME or kind in skipped.get(name, ()):
        pytest.skip("another family has the same nodes")
    method = quantizer(name)
    method.check(model.config)
    quantization = method.prepare(model, calibration(), tmp_path)
    exact = np.concatenate([logits_of(model, *one) for one in RECTANGLES])
    errors = []
    for excluded in ((), quantization.layers):
        folder = tmp_path / str(len(excluded))
        folder.mkdir(exist_ok=True)
        quantization.write(folder, excluded)
        errors.append(np.sqrt(np.square(quantized(folder) - exact).mean()) / exact.std())
    # Sums of OpenVINO's static int8 saturate on CPUs without VNNI.
    assert 0 < errors[0] < (0.7 if name == "openvino_int8" else 0.35 if QUANTIZERS[name][1] == 4 else 0.15)
    assert errors[1] < 0.06
    if quantization.layers:
        assert len(quantization.layers) >= 9
        assert all(isinstance(model.get_submodule(layer), nn.Linear | nn.Embedding) for layer in quantization.layers)


def test_a_layer_alone_is_quantized(model, graph):
    """The query of the second layer, or what has its place."""
    ids, mask = rectangle(4, 12)
    everything = answers(graph.build(Int8(graph.layers, STEPS), {}), ids, mask)
    layer = next(name for name in graph.layers if family_of(model).within_layer(name))
    alone = answers(graph.build(Int8([name for name in graph.layers if name != layer], STEPS), {}), ids, mask)
    assert 0 < np.abs(alone - everything).max() < 0.1 * np.ptp(everything)
