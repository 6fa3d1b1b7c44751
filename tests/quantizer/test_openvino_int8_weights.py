"""Activations are rounded as recorded, or the settings are refused; OpenVINO would silently ignore them."""

import numpy as np
import pytest

from artifacts import tiny_artifact
from checkpoints import TEXTS, tiny_bert
from chirplet.data.batching.tokens import tokenize
from chirplet.quantizer import openvino_int8_weights
from chirplet.quantizer.base import Calibration
from chirplet.quantizer.openvino_int8_weights import OpenVinoInt8Weights
from chirplet.runtime.base import predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.runtime.pytorch import load_model
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system import hardware
from chirplet.system.error import QuantizationError

VNNI = pytest.mark.skipif(not hardware.cpu_has_vnni(), reason="this CPU has no VNNI")


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """Its layers have 32 and 64 inputs."""
    folder = tmp_path_factory.mktemp("openvino")
    return tiny_artifact(tiny_bert(folder / "base"), folder / "artifact")


def prepared(parent, workspace, group_size):
    tokenizer, pad_id = open_tokenizer(parent, 32)
    tokens = tokenize(TEXTS, tokenizer, "none", 32)
    workspace.mkdir()
    made = OpenVinoInt8Weights(group_size=group_size).prepare(
        load_model(parent).eval(), Calibration(tokens, pad_id), workspace
    )

    def answers(excluded=()):
        made.write(workspace, excluded)
        runtime = open_runtime(workspace, accelerator="cpu", threads=1, precision="32-true")
        return predict_logits(runtime, tokens, pad_id, 4)

    return made, answers


@VNNI
def test_groups_are_what_is_computed(parent, tmp_path):
    (plain, exact), (sixteen, by_16), (auto, by_32) = (
        prepared(parent, tmp_path / str(size), size) for size in (0, 16, "auto")
    )
    assert plain.facts["activations"] == "not quantized"
    assert sixteen.facts["activations"] == "int8, one scale for 16 channels of a token"
    assert auto.facts["activations"] == "int8, one scale for 32 channels of a token"
    exact, by_16, by_32 = exact(), by_16(), by_32()
    # Layers of 32 inputs alone, which a larger group would leave out, make more than this difference.
    assert np.abs(by_16 - exact).max() > 0 and np.abs(by_32 - exact).max() > 0
    assert not np.array_equal(by_16, by_32)


@VNNI
@pytest.mark.parametrize("size", [8, 24, 33, 64, 384])
def test_groups_that_would_be_dropped_are_refused(parent, tmp_path, size):
    with pytest.raises(QuantizationError, match=rf"got {size}, should be auto, 0 or a multiple of 16 up to 32"):
        prepared(parent, tmp_path / "work", size)


def test_without_vnni_there_are_no_groups(parent, tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_int8_weights, "cpu_flags", lambda: frozenset({"sse2", "avx2"}))
    made, _ = prepared(parent, tmp_path / "auto", "auto")
    assert made.facts["activations"] == "not quantized"
    with pytest.raises(QuantizationError, match="got 16, should be auto or 0 on this CPU"):
        prepared(parent, tmp_path / "16", 16)


def test_every_listed_layer_can_be_excluded(parent, tmp_path):
    made, answers = prepared(parent, tmp_path / "work", 0)
    assert len(made.layers) == 15, "words, two layers of six, pooler and head; not positions, which NNCF does not touch"
    quantized = answers()
    for layer in (name for name in made.layers if ".layer.1." not in name):  # which is as layer 0
        assert not np.array_equal(answers([layer]), quantized), layer
