"""Which runtime a folder is for, what each refuses, and that large batches in parts are what small ones are."""

from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from artifacts import tiny_artifact
from checkpoints import TEXTS, tiny_bert
from chirplet.data.batching.tokens import tokenize
from chirplet.quantizer.base import Calibration
from chirplet.quantizer.int4_weights import Int4Weights
from chirplet.quantizer.onnx_int8 import OnnxInt8
from chirplet.quantizer.openvino_int8_weights import OpenVinoInt8Weights
from chirplet.quantizer.torch_int8 import TorchInt8
from chirplet.runtime.base import predict_logits
from chirplet.runtime.onnxruntime import CUDA
from chirplet.runtime.open import MODEL_FILES, open_runtime, runtime_of
from chirplet.runtime.probe import write_probe
from chirplet.runtime.pytorch import load_model
from chirplet.runtime.threaded import PART
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.output.make_probe import Prober, reference
from chirplet.system import hardware
from chirplet.system.error import ConfigError, ModelError

QUANTIZERS = {
    "onnxruntime": OnnxInt8(reduce_range="auto"),
    "openvino": OpenVinoInt8Weights(group_size="auto"),
    "pytorch_int8": TorchInt8(weights="per_channel"),
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtimes")
    return tiny_artifact(tiny_bert(folder / "base"), folder / "artifact")


@pytest.fixture(scope="module")
def tokens(parent):
    tokenizer, pad_id = open_tokenizer(parent, 32)
    return tokenize(TEXTS * 2, tokenizer, "none", 32), pad_id


@pytest.fixture(scope="module", params=QUANTIZERS)
def folder(request, parent, tokens, tmp_path_factory):
    made = tmp_path_factory.mktemp(request.param)
    calibration = Calibration(*tokens)
    model = load_model(parent).eval()
    QUANTIZERS[request.param].prepare(model, calibration, made).write(made, ())
    (made / "fp32.onnx").unlink(missing_ok=True)
    tokenizer, pad_id = open_tokenizer(parent, 32)
    write_probe(made, Prober(model, tokenizer, pad_id, 32).probe(reference(made, "cpu", None)))
    return made


def opened(folder, threads=1, accelerator="cpu", precision="stored"):
    return open_runtime(folder, accelerator=accelerator, threads=threads, precision=precision)


def test_every_runtime_takes_one_thread_for_each_core_at_most(folder, parent, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    before = torch.get_num_threads()
    try:
        for each in (folder, parent):
            torch.set_num_threads(3)  # as torch chooses by itself on three cores
            assert opened(each, threads=None).threads == 1
            assert opened(each, threads=2).threads == 2
    finally:
        torch.set_num_threads(before)


def test_a_folder_says_what_runs_it(folder, tmp_path):
    assert runtime_of(folder) == opened(folder).name
    assert "int8" in opened(folder).precision
    with pytest.raises(ModelError, match=r"should contain one of model.safetensors, .* got none"):
        runtime_of(tmp_path)
    for name in ("model.onnx", "model.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=r"got model.safetensors and model.onnx"):
        runtime_of(tmp_path)


def test_a_batch_for_two_threads_is_what_its_parts_are_for_one(folder, tokens):
    part = 40 if runtime_of(folder) == "pytorch_int8" else PART
    one, two = (predict_logits(opened(folder, threads), *tokens, size) for threads, size in ((1, part), (2, 40)))
    assert one.shape == (len(tokens[0]), 3)
    np.testing.assert_allclose(one, two, atol=0.02 * np.abs(one).max())


def test_the_same_batch_has_the_same_logits(folder, tokens):
    first, second = (predict_logits(opened(folder, 2), *tokens, batch_size=32) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_cannot_be_is_refused(folder):
    with pytest.raises(ConfigError, match=r"trainer.accelerator: got 'gpu'"):
        opened(folder, accelerator="gpu")
    if runtime_of(folder) == "onnxruntime":
        with pytest.raises(ConfigError, match=r"pip install onnxruntime-gpu; or use trainer=cpu"):
            opened(folder, accelerator="gpu")
    if runtime_of(folder) != "openvino":
        with pytest.raises(ConfigError, match=r"precision: got 'bf16-mixed', should be auto"):
            opened(folder, precision="bf16-mixed")


def test_autocast_around_it_changes_nothing(folder, tokens):
    alone = predict_logits(opened(folder), *tokens, batch_size=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = predict_logits(opened(folder), *tokens, batch_size=8)
    np.testing.assert_array_equal(alone, within)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_onnx_runtime_never_takes_the_cpu_for_a_gpu(parent, tokens, tmp_path, monkeypatch):
    """A wheel with CUDA also opens a session without it where it finds no GPU. On one it would round fp32 products."""
    quantizer = Int4Weights(block_size=32, activations="fp32")
    quantizer.prepare(load_model(parent).eval(), Calibration(*tokens), tmp_path).write(tmp_path, ())
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    with (
        patch("onnxruntime.InferenceSession", wraps=InferenceSession) as sessions,
        pytest.raises(ConfigError, match=r"onnxruntime could not open CUDA here; use trainer=cpu"),
    ):
        opened(tmp_path, accelerator="gpu")
    assert sessions.call_args.kwargs["providers"][0] == (CUDA, {"use_tf32": "0"})
    assert opened(tmp_path, accelerator="auto").device == "cpu"


@pytest.mark.parametrize("reduced", [True, False])
def test_weights_of_eight_bits_are_not_run_where_they_would_overflow(reduced, parent, tokens, tmp_path, monkeypatch):
    quantizer = OnnxInt8(reduce_range=reduced)
    quantizer.prepare(load_model(parent).eval(), Calibration(*tokens), tmp_path).write(tmp_path, ())
    for flags in ({"sse2", "avx512_vnni"}, {"asimddp"}, set()):
        monkeypatch.setattr(hardware, "cpu_flags", lambda flags=flags: frozenset(flags))
        opened(tmp_path)
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"sse2", "avx2"}))
    if reduced:
        opened(tmp_path)
    else:
        with pytest.raises(ModelError, match=r"has 8-bit weights, .* with quantizer.reduce_range=true$"):
            opened(tmp_path)


def test_a_damaged_file_is_told_in_one_line(folder, tmp_path):
    (name,) = (name for name, runtime in MODEL_FILES.items() if runtime == runtime_of(folder))
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be opened") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_several_threads_may_ask_at_the_same_time(folder, tokens):
    """Each has its own answer, of small batches and of the first large ones."""
    runtime = opened(folder, threads=2)
    sizes = (1, 3, 32)
    alone = [predict_logits(opened(folder, threads=2), *tokens, size) for size in sizes]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda size: predict_logits(runtime, *tokens, size), sizes * 4))
    for found, expected in zip(together, alone * 4, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
