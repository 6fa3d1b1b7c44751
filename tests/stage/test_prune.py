"""Pruning from artifact to artifact, on real texts and a small BERT."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.experiment import execute
from chirplet.runtime.predictor import Predictor
from chirplet.stage.output import write_artifact as outcome
from chirplet.system.error import ArtifactError, ConfigError, PruningError
from runs import small_run

pytestmark = pytest.mark.usefixtures("costs_here")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pruning")


@pytest.fixture(scope="module")
def overrides(base) -> list[str]:
    few = ["stage.learning_rate=1e-3", "trainer.max_epochs=1", "logger=none"]
    return [*small_run(tiny_bert(base / "encoder"), base), *few]


@pytest.fixture(scope="module")
def parent(base, overrides, compose_config) -> Artifact:
    execute(compose_config(*overrides), base / "parent")
    return Artifact.open(base / "parent" / "artifact")


@pytest.fixture
def prune(compose_config, overrides, parent, tmp_path):
    """Prune the parent with further overrides and open the artifact."""
    count = 0

    def run(*more: str) -> Artifact:
        nonlocal count
        count += 1
        output = tmp_path / "runs" / str(count)
        given = [] if any(override.startswith("artifact=") for override in more) else [f"artifact={parent.folder}"]
        fixed = ["stage=prune", "stage.curve=[]", "pruner.every_steps=2", *given]
        if any(override in {"pruner=structured", "pruner=vocabulary"} for override in more):
            fixed.remove("pruner.every_steps=2")
        output.parent.mkdir(exist_ok=True)
        execute(compose_config(*overrides, *fixed, *more), output)
        return Artifact.open(output / "artifact")

    return run


def body(artifact: Artifact) -> dict[str, torch.Tensor]:
    """The layers' matrices in the saved file."""
    weights = load_file(artifact.folder / "model.safetensors")
    return {name: weight for name, weight in weights.items() if ".encoder.layer." in name and weight.dim() == 2}


def zeros(weights: dict[str, torch.Tensor]) -> float:
    return sum(int((weight == 0).sum()) for weight in weights.values()) / sum(w.numel() for w in weights.values())


@pytest.mark.parametrize(
    "options",
    [
        ["pruner=magnitude", "pruner.schedule=one_shot", "stage.recovery=none"],
        ["pruner=magnitude", "pruner.schedule=one_shot", "stage.recovery=labels"],
        ["pruner=magnitude", "pruner.schedule=one_shot", "stage.recovery=distill", "callback=averaging"],
        ["pruner=magnitude", "pruner.schedule=cubic", "stage.recovery=distill"],
        ["pruner=wanda", "stage.recovery=distill"],
        ["pruner=wanda", "pruner.schedule=cubic", "stage.recovery=labels", "trainer.accumulate_grad_batches=2"],
        ["pruner=movement", "stage.recovery=distill"],
    ],
    ids=lambda options: "-".join(option.rpartition("=")[2] for option in options),
)
def test_pruned_weights_are_zero_in_the_saved_file_after_recovery(prune, parent, options):
    artifact = prune(*options, "pruner.sparsity=0.5")
    saved = body(artifact)
    assert zeros(saved) == pytest.approx(0.5, abs=0.01)
    before = body(parent)
    moved = any(not torch.equal(saved[name][saved[name] != 0], before[name][saved[name] != 0]) for name in saved)
    assert moved == ("stage.recovery=none" not in options)
    record = artifact.record
    assert (record.stage, record.parent) == ("prune", parent.record.id)
    assert record.training["pruning"]["sparsity"]["bert.encoder.layer.0.output.dense"] == pytest.approx(
        zeros({"": saved["bert.encoder.layer.0.output.dense.weight"]})
    )
    assert artifact.folder.parent.joinpath("pruning.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("schedule", ["one_shot", "cubic"])
def test_a_second_pruning_keeps_the_zeros_of_the_first(prune, schedule):
    first = prune("pruner.sparsity=0.3", f"pruner.schedule={schedule}")
    second = prune("pruner.sparsity=0.5", f"pruner.schedule={schedule}", f"artifact={first.folder}")
    before, after = body(first), body(second)
    assert zeros(after) == pytest.approx(0.5, abs=0.001)
    assert all(bool((after[name][before[name] == 0] == 0).all()) for name in before)
    with pytest.raises(PruningError, match=r"pruner\.sparsity: got 0\.2, should be at least 0\.5, the share"):
        prune("pruner.sparsity=0.2", f"artifact={second.folder}")


@pytest.mark.parametrize("options", [["pruner=vocabulary"], ["pruner=structured", "pruner.layers=1"]], ids=str)
def test_what_follows_a_sparse_parent_leaves_its_zeros(prune, options):
    sparse = prune("pruner.sparsity=0.5", "pruner.schedule=one_shot", "stage.recovery=none")
    after = body(prune(*options, "stage.recovery=labels", f"artifact={sparse.folder}"))
    before = body(sparse)
    assert all(torch.equal(after[name] == 0, before[name] == 0) for name in after)


def test_structured_gives_a_smaller_dense_model_that_transformers_opens(prune, parent):
    options = ["pruner.layers=[1]", "pruner.intermediate_size=24", "pruner.heads=1", "stage.recovery=distill"]
    artifact = prune("pruner=structured", *options, "stage.measure_cost=true")
    config = json.loads((artifact.folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["intermediate_size"], config["num_attention_heads"]) == (1, 24, 1)
    model, info = AutoModelForSequenceClassification.from_pretrained(artifact.folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert artifact.record.cost["params_total"] == sum(p.numel() for p in model.parameters())
    assert artifact.record.training["pruning"]["layers"] == [1]


def test_vocabulary_keeps_the_logits_and_the_predictor_reads_as_the_record_does(prune, parent):
    artifact = prune("pruner=vocabulary", "stage.recovery=none")
    facts = artifact.record.training["pruning"]
    assert facts["tokens"] < facts["tokens_before"]
    ours, theirs = artifact.predictions("train"), parent.predictions("train")
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-6)
    predictors = [
        Predictor.open(one, batch_size=8, accelerator="cpu", threads=None, precision="32-true")
        for one in (artifact, parent)
    ]
    texts = ["so proud of this team! http", "worst day ever"]
    one, other = (predictor.probabilities(texts) for predictor in predictors)
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_the_curve_and_the_layer_that_breaks_first_are_recorded_and_undone(prune, parent):
    artifact = prune("pruner.sparsity=0.5", "pruner.schedule=one_shot", "stage.recovery=none", "stage.curve=[0.0,0.5]")
    pruning = artifact.record.training["pruning"]
    dense, half = pruning["curve"]
    assert dense["accuracy"] == pytest.approx(parent.record.metrics["val"]["accuracy"])
    assert half["loss"] == pytest.approx(artifact.record.metrics["val"]["loss"], abs=1e-5)
    assert len(pruning["layer_losses"]) == 2
    assert pruning["layer_losses"][pruning["breaks_first"]] == max(pruning["layer_losses"])


def test_the_curve_is_computed_on_the_device_and_in_the_precision_of_the_result(prune, monkeypatch):
    runtimes, trained_runtime = [], outcome.trained_runtime

    def recorded(run, model):
        runtimes.append(trained_runtime(run, model))
        return runtimes[-1]

    monkeypatch.setattr(outcome, "trained_runtime", recorded)
    options = ["pruner.schedule=one_shot", "stage.recovery=none", "stage.curve=[0.25,0.5]"]
    pruning = prune(*options, "trainer.accelerator=cpu", "trainer.precision=bf16-mixed").record.training["pruning"]
    # The dense model, each layer, each sparsity, and the result.
    assert len(runtimes) == 1 + len(pruning["layer_losses"]) + len(pruning["curve"]) + 1 == 6
    assert {(runtime.device, runtime.precision) for runtime in runtimes} == {("cpu", "bf16-mixed")}


def test_the_curve_is_of_validation_texts_from_everywhere_in_the_file(prune, parent):
    options = ["pruner.schedule=one_shot", "stage.recovery=none", "stage.curve=[0.0]", "stage.curve_texts=30"]
    artifact = prune(*options, "seed=3")
    val = parent.predictions("val")
    drawn = np.sort(np.random.default_rng(3).choice(len(val.label), 30, replace=False))
    logits = val.logits[drawn]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(30), val.label[drawn]]
    (point,) = artifact.record.training["pruning"]["curve"]
    assert point["loss"] == pytest.approx(losses.mean(), abs=1e-4)


def test_the_curve_has_no_sparsity_below_the_parent_s(prune):
    options = ["pruner.schedule=one_shot", "stage.recovery=none"]
    first = prune(*options, "pruner.sparsity=0.5")
    second = prune(*options, "pruner.sparsity=0.75", f"artifact={first.folder}", "stage.curve=[0.25,0.5,0.75]")
    pruning = second.record.training["pruning"]
    assert [point["sparsity"] for point in pruning["curve"]] == [0.5, 0.75]
    assert pruning["reached"] == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize("schedule", ["one_shot", "cubic"])
def test_wanda_ends_at_its_sparsity_whatever_the_parents_rows_have_left(prune, schedule):
    first = prune("pruner.sparsity=0.5", "pruner.schedule=one_shot", "stage.recovery=none")
    options = ["pruner=wanda", "pruner.sparsity=0.6", f"pruner.schedule={schedule}", "stage.recovery=labels"]
    second = prune(*options, f"artifact={first.folder}")
    assert zeros(body(second)) == pytest.approx(0.6, abs=0.01)


def test_zeros_are_saved_without_a_sign(prune):
    saved = body(prune("pruner=movement", "pruner.sparsity=0.5"))
    assert not any(bool(torch.signbit(weight[weight == 0]).any()) for weight in saved.values())


def test_invalid_recoveries_raise_before_the_parent_runs(prune, tmp_path):
    with pytest.raises(ConfigError, match=r"stage\.class_weights: got 1 weights"):
        prune("stage.class_weights=[1.0]", f"cache_dir={tmp_path}/cache")
    assert not (tmp_path / "cache" / "logits").exists()


def test_other_runs_from_the_same_parent_are_on_its_page(prune):
    one_shot = ["pruner.schedule=one_shot", "stage.recovery=none"]
    prune("pruner.sparsity=0.25", *one_shot)
    page = prune("pruner.sparsity=0.75", *one_shot).folder.parent.joinpath("pruning.html").read_text()
    assert "sparsity 0.25" in page
    assert "sparsity 0.75" in page


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        (["pruner.sparsity=1.0"], ConfigError, "pruner.sparsity: got 1.0, should be less than 1"),
        (["pruner.sparsity=-0.1"], ConfigError, "pruner.sparsity: got -0.1, should be greater than or equal to 0"),
        (["stage.recovery=none"], ConfigError, "stage.recovery: got 'none', but this pruner prunes while it recovers"),
        (
            ["pruner=movement", "pruner.sparsity=0.9999"],
            PruningError,
            "pruner.sparsity: got 0.9999, which leaves 2 of 16,384 numbers for 12 matrices; should be less",
        ),
        (
            ["pruner.sparsity=0.9999", "pruner.schedule=one_shot"],
            PruningError,
            "pruner.sparsity: got 0.9999, which leaves nothing of bert.encoder.layer.",
        ),
        (["pruner=structured", "pruner.heads=3"], PruningError, "pruner.heads: got 3, but the parent has 2"),
        (["pruner=structured", "pruner.layers=[0,4]"], PruningError, "pruner.layers: got [0, 4], but the parent has 2"),
        (
            ["pruner=structured", "pruner.layers=[1,0]"],
            ConfigError,
            "pruner.layers: got [1, 0], should be in ascending",
        ),
        (["pruner=structured"], PruningError, "pruner: got structured with the sizes of the parent"),
        (["artifact=null"], ArtifactError, "artifact: is missing"),
    ],
    ids=str,
)
def test_invalid_settings_raise_in_one_line(prune, options, error, line):
    with pytest.raises(error) as caught:
        prune(*options)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_schedule_is_advised_to_pruners_that_have_one_alone(prune):
    with pytest.raises(ConfigError, match=r"should be labels or distill, or pruner\.schedule=one_shot$"):
        prune("stage.recovery=none")
    with pytest.raises(ConfigError, match=r"should be labels or distill$"):
        prune("pruner=movement", "stage.recovery=none")
