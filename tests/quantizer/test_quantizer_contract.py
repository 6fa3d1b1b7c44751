"""The contract of quantizers in conf/: they write files that one runtime opens, with nearly the same logits."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import tiny_bert, tiny_roberta
from chirplet.evaluation.parameter_count import count_parameters
from chirplet.quantizer.base import Quantization
from chirplet.runtime.open import runtime_of
from places import CONF
from quantizing import QUANTIZERS, Small, prepared

BASES = {"bert": tiny_bert, "roberta": tiny_roberta}


@pytest.fixture(scope="module", params=BASES)
def small(request, tmp_path_factory) -> Small:
    folder = tmp_path_factory.mktemp(request.param)
    return Small(folder / "artifact", BASES[request.param](folder / "base"))


@dataclass(frozen=True)
class Quantized:
    """What a quantizer has prepared, and the folder that it wrote, with no layer excluded."""

    quantization: Quantization
    written: Path


@pytest.fixture(scope="module")
def quantized(small, tmp_path_factory) -> Callable[[str], Quantized]:
    """A quantizer's work on the model, done once."""
    before = {key: value.clone() for key, value in small.model.state_dict().items()}

    @cache
    def done(name: str) -> Quantized:
        folder = tmp_path_factory.mktemp(name)
        made = Quantized(prepared(name, small, folder / "work"), folder / "written")
        made.written.mkdir()
        made.quantization.write(made.written, ())
        for key, value in small.model.state_dict().items():
            assert torch.equal(value, before[key]), "the model given was changed"
        return made

    return done


def test_every_quantizer_is_here():
    assert sorted(QUANTIZERS) == sorted(path.stem for path in (CONF / "quantizer").glob("*.yaml"))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_contract(name, small, quantized):
    quantization, written = quantized(name).quantization, quantized(name).written
    runtime, bits = QUANTIZERS[name]
    assert runtime_of(written) == runtime
    spread = small.logits.std()
    actual = small.answers(written)
    assert actual.shape == small.logits.shape and actual.dtype == np.float32
    assert np.sqrt(np.square(actual - small.logits).mean()) < 0.25 * spread, "the answers are others"
    assert not np.array_equal(actual, small.logits), "nothing was quantized"
    counts = count_parameters(written)
    fp32 = sum(parameter.numel() for parameter in small.model.parameters())
    assert 0.9 * fp32 <= counts["params_packed"] <= fp32
    assert all(isinstance(value, str | bool | int) for value in quantization.facts.values())
    if bits <= 8:
        assert quantization.layers, "nothing can be kept"


@pytest.mark.parametrize("name", [name for name, (_, bits) in QUANTIZERS.items() if bits <= 8])
def test_excluded_layers_are_unchanged(name, small, quantized, tmp_path):
    quantization, folders = quantized(name).quantization, [quantized(name).written]
    for excluded in (quantization.layers[: len(quantization.layers) // 2], quantization.layers):
        folders.append(tmp_path / str(len(excluded)))
        folders[-1].mkdir()
        quantization.write(folders[-1], excluded)
    errors = [float(np.abs(small.answers(folder) - small.logits).max()) for folder in folders]
    assert errors[2] < 0.05 * np.abs(small.logits).max()
    if not name.startswith("openvino"):
        # OpenVINO computes what is not int8 in bf16 where the CPU has it, which rounds as roughly as int8 weights do.
        assert errors[2] < errors[0]


@pytest.mark.parametrize("name", ["onnx_int8", "openvino_int8_weights"])
def test_a_layer_alone_can_be_quantized(name, small, quantized, tmp_path):
    quantization = quantized(name).quantization
    for index, layer in enumerate(quantization.layers[:4:2]):
        folder = tmp_path / str(index)
        folder.mkdir()
        quantization.write(folder, [other for other in quantization.layers if other != layer])
        assert np.isfinite(small.answers(folder)).all()


@pytest.mark.parametrize("name", ["int4_weights", "openvino_int8", "openvino_int8_weights"])
def test_neighbours_do_not_matter_where_scales_are_not_the_batchs(name, small, quantized):
    alone, among = (small.answers(quantized(name).written, size) for size in (1, len(small.tokens)))
    np.testing.assert_array_equal(alone.argmax(axis=1), among.argmax(axis=1))


def test_reduced_range_is_seven_bits(small, tmp_path):
    import onnx

    for reduced, largest in ((True, 63), (False, 127)):
        quantization = prepared("onnx_int8", small, tmp_path / "work", reduce_range=reduced)
        assert quantization.facts["reduce_range"] is reduced
        quantization.write(tmp_path, ())
        graph = onnx.load(tmp_path / "model.onnx").graph
        weights = [
            onnx.numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith("dense.weight")
        ]
        assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) == largest
