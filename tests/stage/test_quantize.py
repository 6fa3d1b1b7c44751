"""Quantization from configuration to a verified artifact, on real texts and a small BERT."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import chirplet
from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact, content_id
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute
from chirplet.evaluation import isolated_process as fresh
from chirplet.module.classifier import Classifier
from chirplet.runtime.threaded import PartwiseRuntime
from chirplet.stage.output import make_probe
from chirplet.system.error import ArtifactError, ConfigError, Interrupted, ModelError
from runs import WHOLE, small_run

PLAIN = ("stage.sensitivity_texts=0", "stage.tolerance=null")
LOADED = """
import sys, chirplet
predictor = chirplet.load(sys.argv[1])
predictor(["x"])
print(predictor.runtime.name, "torch" in sys.modules)
"""
TEXTS = ["what a lovely day", "this is the worst", "&amp; so on", ""]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("quantize")


@pytest.fixture(scope="module")
def overrides(root) -> list[str]:
    return small_run(tiny_bert(root / "encoder"), root)


@pytest.fixture(scope="module")
def parent(overrides, root, compose_config) -> Artifact:
    # Trained for long enough that hardly a text is so near to two labels that rounding decides.
    trained = ["stage.learning_rate=3e-3", "trainer.max_epochs=6", WHOLE]
    execute(compose_config(*overrides, *trained), root / "parent")
    return Artifact.open(root / "parent" / "artifact")


@pytest.fixture
def quantize(overrides, parent, compose_config, tmp_path):
    count = 0

    def run(*more: str) -> Artifact:
        nonlocal count
        count += 1
        small = ["stage=quantize", f"artifact={parent.folder}", "stage.sensitivity_texts=32", "trainer.threads=1"]
        execute(compose_config(*overrides, *small, *more), tmp_path / f"run{count}")
        return Artifact.open(tmp_path / f"run{count}" / "artifact")

    return run


@pytest.mark.usefixtures("costs_here")
def test_the_default_is_small_and_accurate_and_prints_a_summary(quantize, parent, tmp_path, capsys):
    artifact = quantize("stage.measure_cost=true")
    record, account = artifact.record, artifact.record.training
    assert (record.stage, record.method, record.parent) == ("quantize", "onnx_int8", parent.record.id)
    assert len(record.lineage) == len(parent.record.lineage) + 1
    assert record.settings["quantizer"] == {"reduce_range": "auto"} and "artifact" not in record.settings
    assert account["fp32_val_accuracy"] - record.metrics["val"]["accuracy"] <= 0.003 + 1e-6
    # Two tables, two layers of six matrices without the last keys and values, pooler and head.
    assert len(account["sensitivity"]) == 14
    divergences = [output["divergence"] for output in account["sensitivity"].values()]
    assert divergences == sorted(divergences, reverse=True) and divergences[0] > 0
    assert account["verified"]["texts"] == record.metrics["val"]["n"] + record.metrics["test"]["n"]
    assert account["runtime"] == record.cost["runtime"]
    assert 'chirplet.load("DIR")' in (artifact.folder / "README.md").read_text()
    assert account["verified"]["largest_difference"] <= account["verified"]["tolerance"]
    assert 0.9 <= account["batch_composition"]["same_labels"] <= 1
    assert record.cost["runtime"] == "onnxruntime" and record.cost["compared_with"]["runtime"] == "pytorch"
    assert record.cost["threads"] == record.cost["compared_with"]["threads"] == 1
    weights = AutoModelForSequenceClassification.from_pretrained(parent.folder)
    # Token types are part of the positions, the last keys need no bias, and those of pooler and head stay.
    assert record.cost["params_packed"] == sum(value.numel() for value in weights.parameters()) - 3 * 32
    assert (tmp_path / "run1" / "sensitivity.svg").read_text().count("word_embeddings") == 1
    output = capsys.readouterr().out
    assert "Each layer quantized alone (14 layers" in output and "stage=predict artifact=" in output
    assert f"verified  {account['verified']['texts']:,} texts labeled the same in a new process; " in output
    assert f" ({record.cost['compared_with']['times_texts_per_s']:.1f} times the parent's); " in output


@pytest.mark.usefixtures("costs_here")
@pytest.mark.parametrize(
    ("name", "runtime"), [("onnx_int8", "onnxruntime"), ("openvino_int8_weights", "openvino"), ("bf16", "pytorch")]
)
def test_any_artifact_predicts_by_its_runtime(name, runtime, quantize, compose_config, parent, tmp_path):
    artifact = quantize(f"quantizer={name}", *PLAIN, "stage.evaluate_test=false")
    actual = chirplet.load(artifact.folder)(TEXTS)
    assert set(actual.labels) <= set(parent.record.labels)
    np.testing.assert_allclose(actual.probabilities, chirplet.load(parent.folder)(TEXTS).probabilities, atol=0.1)
    assert artifact.record.training["runtime"] == runtime
    if runtime != "pytorch":  # which needs torch, whose import takes seconds
        loading = [sys.executable, "-c", LOADED, artifact.folder]
        output = subprocess.run(loading, capture_output=True, text=True, check=True)
        assert output.stdout.split() == [runtime, "False"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": example}) + "\n" for example in TEXTS))
    files = (f"artifact={artifact.folder}", f"input={tmp_path}/in.jsonl", f"output={tmp_path}/out.jsonl")
    execute(compose_config("stage=predict", "trainer=cpu", *files), tmp_path / "predict")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == actual.labels


@pytest.mark.usefixtures("costs_here")
def test_a_trainer_for_bf16_does_not_change_the_evaluation_of_layers(quantize):
    """PyTorch's int8 layers do not support bf16, and `limit_val_batches` must not limit the texts of the search."""
    plain = ("quantizer=torch_int8", "stage.tolerance=0.05", "stage.evaluate_test=false")
    expected = quantize(*plain)
    actual = quantize(*plain, "trainer.precision=bf16-mixed", "trainer.limit_val_batches=1")
    assert actual.record.id == expected.record.id
    for name in ("excluded_layers", "sensitivity", "tried", "fp32_val_accuracy"):
        assert actual.record.training[name] == expected.record.training[name]


@pytest.mark.usefixtures("costs_here")
def test_the_recorded_predictions_are_those_of_the_folder(quantize, parent):
    artifact = quantize("quantizer=torch_int8", *PLAIN)
    predictions = artifact.predictions("test")
    accuracy = float((predictions.logits.argmax(axis=1) == predictions.label).mean())
    assert artifact.record.metrics["test"]["accuracy"] == pytest.approx(accuracy)
    before = parent.predictions("test")
    assert predictions.row_id == before.row_id
    assert 0 < np.abs(predictions.logits - before.logits).max() < 0.5 * np.abs(before.logits).max()


@pytest.mark.usefixtures("costs_here")
def test_quantization_aware_training_moves_the_weights(quantize, parent):
    evaluated = ("stage.sensitivity_texts=4", "stage.tolerance=0.5", "stage.evaluate_test=false")
    plain = quantize(*evaluated)
    artifact = quantize("quantizer=qat", "quantizer.learning_rate=1e-3", *evaluated)
    (actual,), (trained,) = (one.record.training["tried"] for one in (plain, artifact))
    assert actual["expected_drop"] >= 0 and trained["expected_drop"] is None, "training changes labels, not rounding"
    assert artifact.record.method == "qat" and artifact.record.training["epochs"] == 1
    assert artifact.record.id != plain.record.id
    assert (artifact.folder / "model.onnx").is_file()
    assert artifact.record.settings["quantizer"]["learning_rate"] == 1e-3


@pytest.mark.usefixtures("costs_here")
def test_interrupted_quantization_aware_training_resumes(quantize, monkeypatch):
    options = ("quantizer=qat", "quantizer.epochs=2", *PLAIN, "stage.evaluate_test=false")
    whole = quantize(*options)
    step = Classifier.training_step

    def interrupted(self, batch, batch_index):
        if self.global_step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_index)

    with monkeypatch.context() as patched, pytest.raises(Interrupted, match="resume=") as caught:
        patched.setattr(Classifier, "training_step", interrupted)
        quantize(*options)
    checkpoint = str(caught.value).partition("resume=")[2].split()[0]
    resumed = quantize(*options, f"resume={checkpoint}")
    assert resumed.record.training["resumed"] is True and resumed.record.training["epochs"] == 2
    assert resumed.record.id == whole.record.id


def test_a_folder_that_fails_verification_is_removed(quantize, tmp_path, monkeypatch):
    def zeros(folder, splits, *_):
        return {split: np.zeros((len(tokens), 5), np.float32) for split, tokens in splits.items()}

    monkeypatch.setattr(fresh, "logits_of", zeros)
    with pytest.raises(ArtifactError, match=r"changes the labels of \d+ of \d+ val texts"):
        quantize(*PLAIN)
    assert not (tmp_path / "run1" / "artifact").exists()


@pytest.mark.usefixtures("costs_here")
def test_a_failed_measurement_does_not_lose_the_model(quantize, monkeypatch, caplog):
    """The timing process may be killed when memory is low."""
    run = fresh.subprocess.run

    def killed(line, **more):
        return subprocess.CompletedProcess(line, -9, "", "") if "--time" in line else run(line, **more)

    monkeypatch.setattr(fresh, "subprocess", SimpleNamespace(run=killed))
    artifact = quantize(*PLAIN, "stage.evaluate_test=false", "stage.measure_cost=true")
    assert artifact.record.cost == {} and chirplet.load(artifact.folder)("what a day").labels
    (line,) = [record.getMessage() for record in caplog.records if "cost" in record.getMessage()]
    assert line.startswith("cost: not measured (could not run the saved model in a new process: exit code -9); ")
    assert f"stage=compare artifacts={artifact.folder} stage.measure=true measures it" in line


@pytest.mark.usefixtures("costs_here")
def test_the_cost_is_added_to_record_and_card(quantize):
    artifact = quantize(*PLAIN, "stage.evaluate_test=false", "stage.measure_cost=true", "stage.cost_accelerator=cpu")
    assert artifact.record.cost["device"] == "cpu" and artifact.record.id == content_id(artifact.folder)
    assert "texts_per_s" in (artifact.folder / "README.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("options", [("stage.tolerance=0.1",), PLAIN])
def test_a_missing_gpu_is_not_replaced_by_the_cpu(options, quantize):
    with pytest.raises(ConfigError, match=r"^trainer\.accelerator: got 'gpu', but torch finds no GPU here"):
        quantize("quantizer=fp16", "trainer=gpu", *options)


def test_the_saved_model_passes_its_probe_in_all_batch_sizes_and_threads(quantize, monkeypatch, tmp_path):
    artifact = quantize(*PLAIN, "stage.evaluate_test=false", "stage.measure_cost=false", "trainer.threads=2")
    grid = artifact.record.training["probe"]
    assert (grid["batch_sizes"], grid["threads"], grid["computes_parts"]) == ([1, 3, 16], [1, 2], True)
    assert grid["texts"] == len(make_probe.TEXTS) and 0 <= grid["largest_distance"] <= grid["accepted"]
    logits = PartwiseRuntime.logits

    def wrong(self, input_ids, attention_mask):
        return logits(self, input_ids, attention_mask) * (-1 if len(input_ids) == 3 and self.threads == 2 else 1)

    monkeypatch.setattr(PartwiseRuntime, "logits", wrong)
    with pytest.raises(ModelError, match=r"fails its probe in batches of 3 with 2 threads: .* nothing was written"):
        quantize(*PLAIN, "stage.evaluate_test=false")
    assert not (tmp_path / "run2" / "artifact").exists()


def test_a_quantized_artifact_is_no_parent(quantize, overrides, compose_config, tmp_path):
    artifact = quantize(*PLAIN, "stage.evaluate_test=false")
    with pytest.raises(ArtifactError, match="artifact: got a model for onnxruntime, should be for pytorch"):
        execute(compose_config(*overrides, "stage=quantize", f"artifact={artifact.folder}"), tmp_path / "again")


def test_invalid_settings_raise_with_their_names(compose_config):
    with pytest.raises(ConfigError, match=r"^quantizer\.weights: got 'per_row', should be 'per_channel' or"):
        parse(compose_config("stage=quantize", "quantizer=torch_int8", "quantizer.weights=per_row"))
    with pytest.raises(ConfigError, match=r"^stage\.tolerance: got -1"):
        parse(compose_config("stage=quantize", "stage.tolerance=-1"))
    with pytest.raises(ConfigError, match=r"^stage\.sensitivity_texts: got 0, .* or set stage\.tolerance=null$"):
        parse(compose_config("stage=quantize", "stage.sensitivity_texts=0"))
    with pytest.raises(ConfigError, match=r"^stage\.artifact: no artifact at '/nowhere': no such folder"):
        parse(compose_config("stage=quantize", "artifact=/nowhere"))
    with pytest.raises(ConfigError, match=r"^stage\.resume: got '\S+\.py', but quantizer=onnx_int8 does not train"):
        parse(compose_config("stage=quantize", f"resume={__file__}"))
    with pytest.raises(ConfigError, match=r"^stage\.resume: got 'no\.ckpt', which is no file"):
        parse(compose_config("stage=quantize", "quantizer=qat", "resume=no.ckpt"))


@pytest.mark.parametrize(
    ("missing", "remedy"), [("val", r"stage\.tolerance=null"), ("test", r"stage\.evaluate_test=false")]
)
def test_empty_splits_raise_before_the_work(missing, remedy, overrides, compose_config, tmp_path):
    split = f"data.{missing}_fraction=0"
    quick = ["trainer.max_steps=1", "stage.final=true", "stage.evaluate_test=false", "stage.evaluate_train=false"]
    execute(compose_config(*overrides, *quick, split), tmp_path / "parent")
    made = ["stage=quantize", f"artifact={tmp_path}/parent/artifact", split]
    with pytest.raises(ConfigError, match=rf"data\.{missing}_fraction: leaves no texts .* set {remedy}$"):
        execute(compose_config(*overrides, *made), tmp_path / "quantized")
