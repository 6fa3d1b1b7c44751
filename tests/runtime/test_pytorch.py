"""Logits come back in the order the texts were given in, on a CPU and by what a GPU computes."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from architectures import KINDS, POST_NORM
from checkpoints import tiny_bert
from chirplet.data.batching.tokens import Tokens
from chirplet.model.family import family_of
from chirplet.runtime import device_queue, pytorch
from chirplet.runtime.base import predict_logits
from chirplet.runtime.device_queue import DeviceQueue, few_shapes
from chirplet.runtime.pytorch import PyTorchRuntime, _by_chirplet, _in_half
from chirplet.system.error import ConfigError
from no_values import NothingFromHost, no_values
from tiny_encoders import POSITIONS, rectangle, tiny_encoder

LENGTHS = (9, 2, 17, 5, 1, 30, 30, 3, 12, 11, 10)


def tokens_of(lengths):
    random = np.random.default_rng(0)
    rows = [random.integers(5, 100, size=length) for length in lengths]
    return Tokens(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]).astype(np.int64))


def on_a_gpu(model, half=None):
    """A runtime that computes on the CPU what it computes on a GPU, where it would be captured."""
    runtime = PyTorchRuntime(model, half)
    runtime.queue = runtime.device_queue()
    return runtime


def test_logits_are_those_of_each_tweet_alone(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert(tmp_path), num_labels=3).eval()
    tokens = tokens_of((9, 2, 17, 5, 1))
    for runtime in (PyTorchRuntime(model), on_a_gpu(model)):
        logits = predict_logits(runtime, tokens, pad_id=0, batch_size=2)
        with torch.inference_mode():
            for i, found in enumerate(logits):
                alone = model(input_ids=torch.from_numpy(tokens[i].astype(np.int64))[None]).logits[0].numpy()
                np.testing.assert_allclose(found, alone, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_a_gpu_computes_what_a_cpu_does(kind, half, monkeypatch):
    monkeypatch.setattr(device_queue, "PENDING", 2)
    model, tokens = tiny_encoder(kind), tokens_of(LENGTHS)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    runtime = on_a_gpu(model, half)
    cpu, gpu = (predict_logits(one, tokens, 1, 2) for one in (PyTorchRuntime(model, half), runtime))
    np.testing.assert_allclose(gpu, cpu, atol=1e-4 if half is None else 0.05 * np.abs(cpu).max())
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert bool(runtime.queue.shapes) == (kind in POST_NORM)


def test_a_family_that_is_not_captured_is_named_once(caplog):
    pytorch._warn_uncaptured.cache_clear()
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            on_a_gpu(tiny_encoder("modernbert"))
    assert caplog.text.count("'modernbert' have no fast forward pass") == 1


def test_batches_have_few_shapes():
    assert few_shapes(1, 5, 128) == (1, 8)
    assert few_shapes(2, 33, 128) == (8, 40)
    assert few_shapes(9, 120, 127) == (16, 127)
    assert few_shapes(256, 128, 128) == (256, 128)
    assert len({few_shapes(texts, tokens, 128) for texts in range(1, 257) for tokens in range(1, 129)}) <= 7 * 12


def test_each_shape_is_captured_once(tmp_path):
    runtime = on_a_gpu(tiny_encoder("bert"))
    for _ in range(2):
        for texts, tokens in ((1, 3), (1, 7), (3, 20), (5, 24)):
            ids, mask = (tensor.numpy() for tensor in rectangle(texts, tokens))
            assert runtime.logits(ids, mask).shape == (texts, 3)
    assert runtime.queue.shapes == [(1, 8), (8, 24)]


@pytest.mark.parametrize("kind", POST_NORM)
def test_what_is_captured_reads_nothing_from_the_device(kind):
    model = tiny_encoder(kind)
    family = family_of(model)
    halved = _in_half(model, family, torch.bfloat16).float()
    with no_values() as device, torch.inference_mode():
        halved.to(device)
        ids, mask = (tensor.to(device) for tensor in rectangle(4, POSITIONS // 2))
        with NothingFromHost():
            logits = _by_chirplet(halved, None, family, {"input_ids": ids, "attention_mask": mask})["logits"]
    assert logits.shape == (4, 3)


def test_results_wait_only_for_what_is_before_them():
    """The first result is read when `PENDING` more batches have been sent, or none is left."""
    sent = []

    def function(batch):
        sent.append(batch["input_ids"].shape)
        return {"logits": batch["input_ids"][:, :2].float()}

    queue = DeviceQueue(function, torch.device("cpu"), None)
    ids = np.arange(6).reshape(2, 3)
    results = queue.logits_of_each([(ids + i, np.ones_like(ids)) for i in range(device_queue.PENDING + 3)])
    np.testing.assert_array_equal(next(results), ids[:, :2])
    assert len(sent) == device_queue.PENDING + 1
    for i, later in enumerate(results, start=1):
        np.testing.assert_array_equal(later, ids[:, :2] + i)
    assert len(sent) == device_queue.PENDING + 3


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_threads_share_what_is_captured(device):
    """As requests of a server do, also while a shape is captured."""
    model = tiny_encoder("bert")
    batches = []
    for texts, tokens in ((1, 4), (3, 9), (3, 17)) * 4:
        ids, mask = (part.numpy() for part in rectangle(texts, tokens))
        batches.append((np.roll(ids, len(batches), axis=1), mask))
    expected = [PyTorchRuntime(model).logits(*batch) for batch in batches]
    runtime = on_a_gpu(model.to(device))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: runtime.logits(*batch), batches * 10))
    for position, logits in enumerate(found):
        np.testing.assert_allclose(logits, expected[position % len(batches)], atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("half", [None, torch.float16])
@pytest.mark.parametrize(
    ("kind", "attention"), [*((kind, "eager") for kind in KINDS), *((kind, "sdpa") for kind in POST_NORM)]
)
def test_cuda_graphs_compute_what_a_cpu_does(kind, attention, half):
    tokens, model = tokens_of(LENGTHS), tiny_encoder(kind)
    model.set_attn_implementation(attention)
    expected = predict_logits(PyTorchRuntime(model), tokens, 1, 2)
    runtime = PyTorchRuntime(model.to("cuda"), half)
    predict_logits(runtime, tokens, 1, 2)
    torch.cuda.set_sync_debug_mode("error" if kind in POST_NORM else "default")  # nothing waits once it is captured
    try:
        found = predict_logits(runtime, tokens, 1, 2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(runtime.queue.shapes) == (kind in POST_NORM)
    np.testing.assert_allclose(found, expected, atol=1e-3 if half is None else 0.05 * np.abs(expected).max())


def test_fp16_needs_a_gpu(tmp_path):
    with pytest.raises(ConfigError, match=r"stage\.precision: got '16-mixed', should be auto or bf16-mixed"):
        PyTorchRuntime.open(tmp_path, "cpu", None, "16-mixed")
