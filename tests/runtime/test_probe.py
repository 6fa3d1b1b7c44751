"""What is opened answers its probe first: what is right passes in any way, what is wrong is not used."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from artifacts import lively, tiny_artifact
from checkpoints import TEXTS, tiny_bert
from chirplet.artifact.artifact import PROBE
from chirplet.data.batching.tokens import tokenize
from chirplet.model.wheel.bundled import CHECKPOINTS
from chirplet.quantizer.base import Calibration
from chirplet.quantizer.onnx_int8 import OnnxInt8
from chirplet.quantizer.openvino_int8 import OpenVinoInt8
from chirplet.quantizer.openvino_int8_weights import OpenVinoInt8Weights
from chirplet.runtime import open as opening
from chirplet.runtime import openvino
from chirplet.runtime.base import predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.runtime.openvino import OpenVinoRuntime
from chirplet.runtime.probe import OPENING, cpu_kind, read_probe, write_probe
from chirplet.runtime.pytorch import PyTorchRuntime, load_model
from chirplet.runtime.threaded import PART
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.output.make_probe import Prober, reference
from chirplet.system.child_process import environment
from chirplet.system.error import ModelError

HEAD_SIZE = 16


@pytest.fixture(scope="module")
def tokens(folder):
    tokenizer, pad_id = open_tokenizer(folder, 32)
    return tokenize(TEXTS * 2, tokenizer, "none", 32), pad_id


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model in OpenVINO's int8, with its probe."""
    place = tmp_path_factory.mktemp("probe")
    parent = tiny_artifact(tiny_bert(place / "base"), place / "parent")
    model = lively(load_model(parent)).eval()
    tokenizer, pad_id = open_tokenizer(parent, 32)
    made = place / "made"
    made.mkdir()
    calibration = Calibration(tokenize(TEXTS, tokenizer, "none", 32), pad_id)
    OpenVinoInt8Weights(group_size="auto").prepare(model, calibration, place).write(made, ())
    for file in ("tokenizer.json", "artifact.json"):
        (made / file).write_bytes((parent / file).read_bytes())
    write_probe(made, Prober(model, tokenizer, pad_id, 32).probe(reference(made, "cpu", 1)))
    return made


@pytest.fixture(autouse=True)
def nothing_verified(monkeypatch):
    monkeypatch.setattr(opening, "_VERIFIED", {})


def opened(folder, threads=1, **more):
    return open_runtime(folder, accelerator="cpu", threads=threads, precision="stored", **more)


def test_what_is_right_is_opened_and_computes_parts(folder, tokens):
    probe = read_probe(folder)
    assert probe.cpu == cpu_kind() and probe.accepted > 0
    assert probe.tokens.lengths.tolist()[:2] == [HEAD_SIZE, 2 * HEAD_SIZE], "the size of a head, and twice it"
    runtime = opened(folder, threads=2)
    assert runtime.computes_parts
    assert predict_logits(runtime, *tokens, 2 * PART).shape == (len(tokens[0]), 3)


def test_the_same_files_are_asked_once_in_a_process(folder, monkeypatch):
    asked = []
    together = OpenVinoRuntime.together
    monkeypatch.setattr(OpenVinoRuntime, "together", lambda self, feed: asked.append(1) or together(self, feed))
    opened(folder)
    assert len(asked) == len(OPENING)
    opened(folder)
    assert len(asked) == len(OPENING)
    opened(folder, threads=2)
    assert len(asked) == 2 * len(OPENING)


def test_streams_that_do_not_reproduce_the_probe_are_not_used(folder, tokens, monkeypatch, caplog):
    """As with AMX in bf16 and two streams: logits in the hundreds, other ones each time."""
    expected = predict_logits(opened(folder, threads=2), *tokens, 2 * PART)
    alone = OpenVinoRuntime.alone
    draws = np.random.default_rng(0)

    def wrong(self):
        infer = alone(self)
        return lambda feed: infer(feed) + draws.normal(scale=300, size=(len(feed["input_ids"]), 3)).astype(np.float32)

    monkeypatch.setattr(OpenVinoRuntime, "alone", wrong)
    runtime = opened(folder, threads=2)
    with caplog.at_level(logging.WARNING):
        found = predict_logits(runtime, *tokens, 2 * PART)
    assert not runtime.computes_parts
    np.testing.assert_allclose(found, expected, atol=read_probe(folder).accepted)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("openvino: parts of a batch do not reproduce the probe")


def test_without_a_probe_streams_are_not_used_in_bf16_with_amx(folder, monkeypatch):
    monkeypatch.setattr(openvino, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(openvino, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    assert opened(folder, threads=2).computes_parts, "the probe agrees"
    unasked = opened(folder, threads=2, verify=False)
    assert unasked.computes_parts == (unasked.precision == "int8/fp32"), "where the CPU has no bf16, fp32 is taken"
    monkeypatch.setattr(openvino, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    assert opened(folder, threads=2, verify=False).computes_parts


@pytest.mark.parametrize("error", [4.5, float("nan")])
def test_a_precision_that_is_wrong_at_one_length_is_not_used(folder, tokens, error, monkeypatch, caplog):
    """As with AMX in bf16 and fused attention: batches as long as a head is wide."""
    expected = predict_logits(reference(folder, "cpu", 1), *tokens, 1)
    together = OpenVinoRuntime.together

    def wrong(self, feed):
        special = self.settings["INFERENCE_PRECISION_HINT"] == "bf16" and feed["input_ids"].shape[1] == HEAD_SIZE
        return together(self, feed) + np.float32(error if special else 0)

    monkeypatch.setattr(openvino, "cpu_has_bf16", lambda: True)  # other CPUs compute in it too, slowly
    monkeypatch.setattr(OpenVinoRuntime, "together", wrong)
    with caplog.at_level(logging.WARNING):
        runtime = opened(folder)
    assert "does not reproduce its probe here; it is computed in int8/fp32 instead" in caplog.text
    assert runtime.precision == "int8/fp32"
    np.testing.assert_array_equal(predict_logits(runtime, *tokens, 1), expected)
    caplog.clear()
    opened(folder)
    assert not caplog.records, "what was wrong is not tried again"


def test_what_is_wrong_in_every_way_is_refused_in_a_line(folder, monkeypatch):
    together = OpenVinoRuntime.together
    monkeypatch.setattr(OpenVinoRuntime, "together", lambda self, feed: -together(self, feed))
    made = json.loads((folder / "artifact.json").read_text())
    assert made["stage"] == "finetune"
    with pytest.raises(ModelError) as caught:
        opened(folder)
    line = str(caught.value)
    assert line.startswith(f"artifact: '{folder}' does not reproduce its probe here: logits differ by ")
    assert line.count(cpu_kind()) == 2, "who made it, and where it is"
    assert f"with chirplet reproduce={folder}, or use" in line and "\n" not in line
    assert np.isfinite(opened(folder, verify=False).logits(*next(read_probe(folder).asked([[0]])))).all()


def test_an_older_artifact_is_opened_with_one_warning(folder, tmp_path, caplog):
    for file in folder.iterdir():
        if file.name != PROBE:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with caplog.at_level(logging.WARNING):
        opened(tmp_path)
        opened(tmp_path, threads=2)
        opened(tmp_path, verify=False)
    assert len(caplog.records) == 1
    assert "has no probe.json (an older version wrote it)" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("input_ids", [[1, 2]], "input_ids: Value error|got 1 texts|logits"),
        ("input_ids", [[10**6]] * 24, "has a token of 1000000, its model"),
        ("input_ids", [[-1]] * 24, "input_ids.0.0: Input should be greater"),
        ("input_ids", [[2] * 65] * 24, "has a length of 65, its model allows 64"),
        ("accepted_distance", -1, "accepted_distance"),
        ("pad_id", 2**70, "pad_id"),
        ("accepted_distance", None, "accepted_distance"),
        ("logits", [[1.0, 2.0]], "logits: should be the same number of logits for each of 24 texts"),
        ("fp32_logits", "x", "fp32_logits"),
        ("schema_version", 2, "schema_version"),
    ],
)
def test_a_damaged_probe_is_refused(folder, tmp_path, key, value, line):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((folder / PROBE).read_text())
    (tmp_path / PROBE).write_text(json.dumps(content | {key: value}))
    with pytest.raises(ModelError, match=line) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / PROBE).write_text("{")
    with pytest.raises(ModelError, match=r"probe\.json' cannot be read"):
        opened(tmp_path)


@pytest.fixture(scope="module")
def minilm():
    """The bundled weights with a head whose logits are as large as trained ones, its tokenizer, and what pads."""
    from transformers import AutoModelForSequenceClassification

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(3)
        model = AutoModelForSequenceClassification.from_pretrained(CHECKPOINTS["bundled"].folder(), num_labels=5).eval()
        model.classifier.weight.normal_(std=0.2)
    return model, *open_tokenizer(CHECKPOINTS["bundled"].folder(), 64)


@pytest.fixture(scope="module")
def prober(minilm):
    return Prober(*minilm, 64)


@pytest.fixture(scope="module")
def fp32(minilm):
    """Logits of one text of each length by PyTorch; by length, with its ids."""
    model, tokenizer, _ = minilm
    runtime = PyTorchRuntime(model)
    whole = np.array(tokenizer([" ".join(TEXTS)], truncation=True, max_length=64)["input_ids"], np.int64)
    cut = {length: whole[:, :length] for length in range(1, 65)}
    return {length: (ids, runtime.logits(ids, np.ones_like(ids))) for length, ids in cut.items()}


QUANTIZERS = {
    "onnx_int8": OnnxInt8(reduce_range="auto"),
    "openvino_int8": OpenVinoInt8(calibration_texts=20, smooth_quant_alpha=0.95),
    "openvino_int8_weights": OpenVinoInt8Weights(group_size="auto"),
}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_real_graph_is_right_at_every_length(name, minilm, prober, fp32, tmp_path):
    model, tokenizer, pad_id = minilm
    calibration = Calibration(tokenize(TEXTS, tokenizer, "none", 64), pad_id)
    made = tmp_path / "made"
    made.mkdir()
    QUANTIZERS[name].prepare(model, calibration, tmp_path).write(made, ())
    probe = prober.probe(reference(made, "cpu", 1))
    assert probe.accepted < 0.5 * np.ptp(probe.fp32), "a bound that anything keeps"
    write_probe(made, probe)
    runtime = opened(made, threads=2)
    for length, (ids, expected) in fp32.items():
        sizes = (1, 2 * PART) if length == 32 else (1,)  # a head is 32 wide; so many are computed in parts
        for size in sizes:
            batch = np.repeat(ids, size, axis=0)
            off = np.abs(runtime.logits(batch, np.ones_like(batch)) - expected).max()
            assert off <= probe.accepted, f"{name} in {runtime.precision} at {length} tokens"


def test_signals_are_borne_after_models_were_closed(folder):
    """OpenVINO gives a thread a stack for signals, which is gone once the wrong one of several models is closed."""
    models = [opened(folder, threads=threads, verify=False) for threads in (1, 2, 1)]
    while models:
        models.pop(0)
        gc.collect()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigwait([])


MAKE = """
import sys
from pathlib import Path
from chirplet.runtime.probe import write_probe
from chirplet.runtime.pytorch import PyTorchRuntime, load_model
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.output.make_probe import Prober
folder = Path(sys.argv[1])
model = load_model(folder).eval()
write_probe(folder, Prober(model, *open_tokenizer(folder, 64), 64).probe(PyTorchRuntime(model)))
"""


@pytest.mark.parametrize("isa", ["AVX512_CORE_VNNI", None])
def test_the_real_model_made_in_fp32_is_opened_in_bf16(isa, minilm, prober, tmp_path):
    """A maker without bf16 knows what it costs by computing it another way."""
    model, tokenizer, _ = minilm
    model.save_pretrained(tmp_path)
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    if isa is None:
        write_probe(tmp_path, prober.probe(PyTorchRuntime(model)))
    else:
        forced = environment(ONEDNN_MAX_CPU_ISA=isa)
        subprocess.run([sys.executable, "-c", MAKE, str(tmp_path)], env=forced, check=True)
    for precision in ("bf16-mixed", "32-true"):
        open_runtime(tmp_path, accelerator="cpu", threads=None, precision=precision)
