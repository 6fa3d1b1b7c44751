"""Costs are counted from the files and timed in another process."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.data.batching.tokens import Tokens
from chirplet.evaluation import isolated_process as fresh
from chirplet.evaluation.cost import Timed, count_bytes, time_interleaved, timed_on
from chirplet.evaluation.isolated_process import settings
from chirplet.evaluation.parameter_count import count_parameters
from chirplet.runtime.base import Runtime
from chirplet.system.error import ArtifactError
from records import make_record

TOKENS = Tokens(np.full(60, 7, dtype=np.int32), np.arange(0, 61, 6))


def test_parameters_by_hand(tmp_path):
    save_file({"a": torch.tensor([[1.0, 0.0], [2.0, 3.0]]), "b": torch.zeros(3)}, tmp_path / "model.safetensors")
    counts = count_parameters(tmp_path)
    assert counts == {"params_total": 7, "params_nonzero": 3, "params_packed": 7}


def test_bytes_leave_out_what_does_not_run_the_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100_000)
    for name in ("artifact.json", "predictions.parquet", "README.md"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    counts = count_bytes(tmp_path)
    assert counts["bytes_on_disk"] == 100_000
    assert counts["bytes_compressed"] < 1000


def test_the_saved_folder_is_timed_in_a_process_of_its_own(tmp_path):
    AutoModelForSequenceClassification.from_pretrained(tiny_bert(tmp_path / "base")).save_pretrained(tmp_path / "out")
    (timed,) = time_interleaved([Timed(tmp_path / "out", TOKENS, pad_id=0)], threads=1, rounds=1)
    assert timed["threads"] == 1
    assert timed["texts_timed"] >= 10 and timed["texts_timed"] % 10 == 0
    assert timed["mean_tokens"] == 6.0
    assert 0 < timed["latency_ms"]["p50"] <= timed["latency_ms"]["p95"]
    assert timed["texts_per_s"] > 0


def test_a_gpu_is_timed_beside_the_cpu(tmp_path, costs_here, monkeypatch):
    """In the same process and in the precision of prediction; another device stands for the GPU here."""
    AutoModelForSequenceClassification.from_pretrained(tiny_bert(tmp_path / "base")).save_pretrained(tmp_path / "out")
    both = Timed(tmp_path / "out", TOKENS, pad_id=0, accelerators=("cpu", "auto"))
    monkeypatch.setattr("chirplet.runtime.pytorch.automatic_precision", lambda _: "bf16-mixed")
    (timed,) = time_interleaved([both], threads=1, rounds=2)
    assert timed["precision"] == "fp32" and timed["gpu"]["precision"] == "bf16-mixed"
    assert timed["gpu"]["texts_per_s"] > 0 and set(timed) == {*timed["gpu"], "gpu"}
    record = make_record(cost=timed)
    assert Artifact(tmp_path, record).costs()["cost/gpu_texts_per_s"] == timed["gpu"]["texts_per_s"]
    with pytest.raises(ValidationError, match=r"gpu\.texts_per_s: is missing"):
        make_record(cost=timed | {"gpu": {"latency_ms": {"p50": 1.0, "p95": 1.0}}})


def test_without_a_gpu_the_cpu_alone_is_timed(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").touch()
    for accelerator in ("auto", "cpu"):
        monkeypatch.setattr("chirplet.evaluation.cost.device_of", lambda _: torch.device("cpu"))
        assert timed_on(tmp_path, accelerator) == ("cpu",)
        monkeypatch.setattr("chirplet.evaluation.cost.device_of", lambda _: torch.device("cuda"))
    assert timed_on(tmp_path, "auto") == ("cpu", "auto")
    (tmp_path / "model.safetensors").rename(tmp_path / "model.onnx")
    assert timed_on(tmp_path, "auto") == ("cpu",)


class SlowToStart(Runtime):
    """Takes a millisecond for a batch, and half a second more for one of a size that it did not meet before.

    Both by a clock of its own, which stands still otherwise.
    """

    name, precision, device, threads = "pytorch", "fp32", "cpu", 1

    def __init__(self) -> None:
        self.met: set[bool] = set()
        self.lengths: set[int] = set()
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def logits(self, input_ids, attention_mask):
        large = len(input_ids) > 1
        self.seconds += 0.001 if large in self.met else 0.501
        self.met.add(large)
        if large:
            self.lengths.add(input_ids.shape[1])
        return np.zeros((len(input_ids), 3), np.float32)


def test_what_a_runtime_prepares_once_is_not_timed(monkeypatch):
    runtime = SlowToStart()
    monkeypatch.setattr(fresh, "time", runtime)
    lengths = np.repeat([2, 4, 6], fresh.BATCH_SIZE)
    tokens = Tokens(np.full(lengths.sum(), 7, np.int32), np.cumsum([0, *lengths]))
    timed = fresh.timed(runtime, tokens, pad_id=0)
    assert timed["texts_per_s"] == pytest.approx(1000 * fresh.BATCH_SIZE)
    assert timed["latency_ms"] == pytest.approx({"p50": 1.0, "p95": 1.0})
    # Over and over again: what takes a moment is timed for longer than that.
    assert timed["texts_timed"] == pytest.approx(fresh.THROUGHPUT_S * 1000 * fresh.BATCH_SIZE, rel=0.01)
    assert runtime.lengths == {2, 4, 6}


def test_a_gpu_prepares_every_shape_before_it_is_timed(monkeypatch):
    class Prepares(SlowToStart):
        device = "cuda"

        def logits(self, input_ids, attention_mask):
            self.seconds += 0.001 if input_ids.shape in self.met else 0.501
            self.met.add(input_ids.shape)
            return np.zeros((len(input_ids), 3), np.float32)

    runtime = Prepares()
    monkeypatch.setattr(fresh, "time", runtime)
    lengths = np.repeat(np.arange(2, 12), fresh.BATCH_SIZE)
    tokens = Tokens(np.full(lengths.sum(), 7, np.int32), np.cumsum([0, *lengths]))
    timed = fresh.timed(runtime, tokens, pad_id=0)
    assert timed["latency_ms"] == pytest.approx({"p50": 1.0, "p95": 1.0})
    assert timed["texts_per_s"] == pytest.approx(1000 * fresh.BATCH_SIZE)


def test_the_process_is_told_where_to_compute():
    assert settings(3, ["cpu", "gpu"], 2) == ("--pad-id", "3", "--accelerator", "cpu", "gpu", "--threads", "2")
    assert settings(3, ["cpu"], None, verify=False)[-1] == "--unverified"


def test_a_folder_that_does_not_open_is_told(tmp_path):
    with pytest.raises(ArtifactError, match="could not run the saved model"):
        time_interleaved([Timed(tmp_path, TOKENS, pad_id=0)], threads=None, rounds=1)
