"""The runtime computes with the stored 4-bit weights, whether or not blocks are full."""

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from artifacts import lively, tiny_artifact
from checkpoints import TEXTS, tiny_bert
from chirplet.data.batching.tokens import tokenize
from chirplet.evaluation.parameter_count import count_parameters
from chirplet.quantizer.base import Calibration
from chirplet.quantizer.graph.onnx_blockwise_nodes import in_blocks, pairs
from chirplet.quantizer.int4_weights import Int4Weights
from chirplet.runtime.base import predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.runtime.pytorch import PyTorchRuntime, load_model
from chirplet.runtime.tokenizer import open_tokenizer


def restored(weight: np.ndarray, size: int, bits: int) -> np.ndarray:
    codes, scale = in_blocks(weight, size, bits)
    values = (codes.astype(np.float32) - 2 ** (bits - 1)) * scale[:, :, None]
    return values.reshape(len(weight), -1)[:, : weight.shape[1]]


@pytest.mark.parametrize("bits", [4, 8])
def test_a_block_has_the_steps_of_its_largest_weight(bits):
    weight = np.random.default_rng(0).normal(size=(5, 70)).astype(np.float32)
    weight[:, :32] *= 100
    weight[1, 32:64] = 0
    actual = restored(weight, 32, bits)
    for start in (0, 32, 64):
        block, error = weight[:, start : start + 32], np.abs(actual - weight)[:, start : start + 32]
        largest = np.abs(block).max(axis=1, keepdims=True)
        # On the other side of zero there is one step less.
        assert (error <= largest / 2 ** (bits - 1) * 1.001).all()
        assert np.median(error) <= np.median(largest) / 2**bits
        index = np.abs(block).argmax(axis=1)
        np.testing.assert_allclose(error[np.arange(5), index], 0, atol=1e-6 * largest.max())
    assert not actual[1, 32:64].any()


def test_the_first_of_two_codes_is_in_the_lower_half_of_a_byte():
    assert pairs(np.array([[1, 2, 15, 0]], np.uint8)).tolist() == [[0x21, 0x0F]]


def test_excluded_words_have_eight_bits(tmp_path):
    parent = tiny_artifact(tiny_bert(tmp_path / "base"), tmp_path / "parent")
    tokenizer, pad_id = open_tokenizer(parent, 32)
    tokens = tokenize(TEXTS, tokenizer, "none", 32)
    model = lively(load_model(parent)).eval()
    words = "bert.embeddings.word_embeddings"
    made = Int4Weights(block_size=16, activations="fp32").prepare(model, Calibration(tokens, pad_id), tmp_path)
    actual, sizes = {}, {}
    for name, excluded in {"all": list(made.layers), "but words": [one for one in made.layers if one != words]}.items():
        (tmp_path / name).mkdir()
        made.write(tmp_path / name, excluded)
        opened = open_runtime(tmp_path / name, accelerator="cpu", threads=1, precision="stored")
        actual[name] = predict_logits(opened, tokens, pad_id, 4)
        sizes[name] = (tmp_path / name / "model.onnx").stat().st_size
    right = predict_logits(PyTorchRuntime(model), tokens, pad_id, 4)
    error = {name: np.abs(logits - right).max() for name, logits in actual.items()}
    assert error["all"] < 0.25 * error["but words"]
    rows, width = model.get_submodule(words).weight.shape
    # A byte a number and a scale a row, for half a byte and a scale a block.
    assert sizes["all"] - sizes["but words"] <= rows * (width + 4 - width // 2 - 4 * width // 16) + 4 * width + 500


def rounded_model(model: PreTrainedModel, size: int, excluded: str) -> PreTrainedModel:
    """The model with the weights that its file should hold, in fp32."""
    with torch.no_grad():
        for name, module in model.named_modules():
            linear = isinstance(module, torch.nn.Linear)
            if linear or name.endswith("word_embeddings"):
                values = restored(module.weight.detach().numpy(), size, 8 if name == excluded else 4)
                module.weight.copy_(torch.from_numpy(values))
    return model


@pytest.mark.parametrize("size", [16, 128])
def test_the_file_computes_with_the_weights_that_its_codes_stand_for(size, tmp_path):
    """Layers have 32 and 64 inputs, so blocks of 128 are not full."""
    parent = tiny_artifact(tiny_bert(tmp_path / "base"), tmp_path / "parent")
    tokenizer, pad_id = open_tokenizer(parent, 32)
    tokens = tokenize(TEXTS, tokenizer, "none", 32)
    model = lively(load_model(parent)).eval()
    excluded, positions = "bert.encoder.layer.0.output.dense", "bert.embeddings.position_embeddings"
    made = Int4Weights(block_size=size, activations="fp32").prepare(model, Calibration(tokens, pad_id), tmp_path)
    assert {excluded, positions} <= set(made.layers)
    (tmp_path / "written").mkdir()
    made.write(tmp_path / "written", [excluded, positions])
    opened = open_runtime(tmp_path / "written", accelerator="cpu", threads=1, precision="stored")
    actual = predict_logits(opened, tokens, pad_id, 4)
    expected = predict_logits(PyTorchRuntime(rounded_model(model, size, excluded)), tokens, pad_id, 4)
    # Positions are in fp16.
    np.testing.assert_allclose(actual, expected, atol=0.003 * np.abs(expected).max())
    counts, before = count_parameters(tmp_path / "written"), count_parameters(parent)
    # Positions and token types are one table.
    assert before["params_total"] - counts["params_total"] == 2 * model.config.hidden_size
    assert 0.7 * counts["params_total"] < counts["params_nonzero"] < counts["params_total"]
