"""A teacher's logits, computed once."""

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from artifacts import tiny_artifact
from checkpoints import TEXTS, tiny_bert
from chirplet.artifact.artifact import PROBE, Artifact
from chirplet.data.base import Examples
from chirplet.data.batching.tokens import tokenize
from chirplet.quantizer.base import Calibration
from chirplet.quantizer.onnx_int8 import OnnxInt8
from chirplet.runtime.predictor import load
from chirplet.runtime.pytorch import load_model
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.distillation import teacher_logits as module
from chirplet.stage.distillation.teacher_logits import teacher_logits

ASK = {"batch_size": 4, "accelerator": "cpu", "threads": None}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Artifact:
    folder = tmp_path_factory.mktemp("teacher")
    return Artifact.open(tiny_artifact(tiny_bert(folder / "base"), folder / "artifact"))


def examples(texts: list[str]) -> Examples:
    return Examples([str(n) for n in range(len(texts))], texts, np.zeros(len(texts), np.int64), [None] * len(texts))


def test_they_are_what_the_artifact_predicts(artifact, tmp_path):
    logits = teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, load(artifact.folder, accelerator="cpu")(TEXTS).probabilities, atol=2e-2)


def test_they_are_computed_once_and_mapped(artifact, tmp_path, monkeypatch):
    first = teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK)
    monkeypatch.setattr(module, "open_runtime", None)
    again = teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK)
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(first, again)


def test_other_texts_and_another_teacher_have_other_files(artifact, tmp_path):
    """A teacher is identified by its files, not by its record."""
    folder = tmp_path / "other"
    shutil.copytree(artifact.folder, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight / 2 for name, weight in weights.items()}, folder / "model.safetensors")
    (folder / PROBE).unlink()  # it would not answer
    other = Artifact.open(folder)
    assert other.record.id == artifact.record.id
    expected = teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK)
    teacher_logits(artifact, examples(TEXTS[:5]), tmp_path, **ASK)
    assert not np.allclose(expected, teacher_logits(other, examples(TEXTS), tmp_path, **ASK))
    assert len(list(tmp_path.glob("logits/*.npy"))) == 3


def test_other_batch_sizes_and_precisions_have_other_files(artifact, tmp_path, monkeypatch):
    """Batches of other sizes, and a machine with other numbers."""
    teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK)
    teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK | {"batch_size": 8})
    monkeypatch.setattr(module, "automatic_precision", lambda _: "16-mixed")
    teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK)
    assert len(list(tmp_path.glob("logits/*.npy"))) == 3


def test_a_damaged_file_is_computed_again(artifact, tmp_path, caplog):
    first = np.array(teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK))
    (file,) = tmp_path.glob("logits/*.npy")
    file.write_bytes(file.read_bytes()[:200])
    np.testing.assert_array_equal(first, teacher_logits(artifact, examples(TEXTS), tmp_path, **ASK))
    assert "is damaged" in caplog.text


def test_a_teacher_of_another_runtime_runs_on_the_cpu_while_the_student_trains_elsewhere(artifact, tmp_path):
    folder = tmp_path / "int8"
    shutil.copytree(artifact.folder, folder)
    for name in ("model.safetensors", PROBE):
        (folder / name).unlink()
    tokenizer, pad_id = open_tokenizer(artifact.folder, 32)
    calibration = Calibration(tokenize(TEXTS, tokenizer, "none", 32), pad_id)
    model = load_model(artifact.folder).eval()
    OnnxInt8(reduce_range="auto").prepare(model, calibration, tmp_path).write(folder, ())
    expected = teacher_logits(Artifact.open(folder), examples(TEXTS), tmp_path, **ASK)
    on_a_gpu = ASK | {"accelerator": "gpu"}
    again = teacher_logits(Artifact.open(folder), examples(TEXTS), tmp_path, **on_a_gpu)
    np.testing.assert_array_equal(again, expected)
