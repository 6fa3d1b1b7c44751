"""Fine-tuning from configuration to artifact, on real texts and a small BERT."""

import csv
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.trainer.connectors import data_connector
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute, run_of
from chirplet.data.preparation.repair import repair
from chirplet.runtime.predictor import Predictor
from chirplet.system.error import ArtifactError, ConfigError, Interrupted, ModelError
from forked import command
from places import ROOT, SAMPLE
from runs import WHOLE, small_run

pytestmark = pytest.mark.usefixtures("costs_here")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def overrides(encoder) -> list[str]:
    return [*small_run(encoder, encoder.parent), "stage.learning_rate=1e-3"]


@pytest.fixture
def finetune(compose_config, overrides, tmp_path):
    """Run with further overrides and open the artifact."""
    count = 0

    def run(*more: str) -> tuple[float | None, Artifact]:
        nonlocal count
        count += 1
        output = tmp_path / f"run{count}"
        value = execute(compose_config(*overrides, *more), output)
        return value, Artifact.open(output / "artifact")

    return run


@pytest.fixture(scope="module")
def plain(compose_config, overrides, tmp_path_factory) -> Artifact:
    """What a run without further overrides gives."""
    folder = tmp_path_factory.mktemp("plain")
    execute(compose_config(*overrides), folder)
    return Artifact.open(folder / "artifact")


def test_a_run_writes_an_artifact_that_transformers_opens(finetune, tmp_path, capsys):
    header, *rows = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "twice.csv").write_text("".join([header, *rows, *rows[:5]]), encoding="utf-8")
    value, artifact = finetune("stage.measure_cost=true", f"data.train={tmp_path / 'twice.csv'}")
    record = artifact.record
    said, counts, dropped = capsys.readouterr().out, record.training["tokens"], record.data.report["dropped"]
    assert f" texts (train / val / test), {sum(dropped.values())} of 805 left out: " in said
    assert counts["texts"] == record.data.sizes["train"] + record.data.sizes["val"]
    assert (
        f"texts     {counts['longer']} of {counts['texts']} texts are longer than 40 tokens; they are truncated" in said
    )
    assert f"texts     {counts['unknown']} of {counts['tokens']:,} tokens" in said
    assert record.stage == "finetune"
    assert record.labels == ["Extremely Negative", "Extremely Positive", "Negative", "Neutral", "Positive"]
    assert value == record.metrics["val"]["f1_macro"]
    assert set(record.metrics) == {"train", "val", "test"}
    assert record.data.sizes["train"] + record.data.sizes["val"] + record.data.sizes["test"] <= 800
    assert record.cost["params_total"] == sum(
        tensor.numel() for tensor in AutoModelForSequenceClassification.from_pretrained(artifact.folder).parameters()
    )
    assert record.cost["latency_ms"]["p50"] > 0
    assert record.cost["bytes_compressed"] < record.cost["bytes_on_disk"]
    model = AutoModelForSequenceClassification.from_pretrained(artifact.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(artifact.folder)
    assert [model.config.id2label[i] for i in range(5)] == record.labels
    with torch.inference_mode():
        assert model(**tokenizer("what a lovely day", return_tensors="pt")).logits.shape == (1, 5)


def test_training_takes_one_thread_for_each_core_at_most(finetune, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # as torch chooses by itself on three cores
    try:
        _, artifact = finetune("trainer.max_epochs=1", "trainer.limit_train_batches=2")
    finally:
        torch.set_num_threads(before)
    assert artifact.record.training["threads"] == 1


def test_the_recorded_metrics_are_those_of_the_recorded_predictions(plain):
    for split, metrics in plain.record.metrics.items():
        predictions = plain.predictions(split)
        assert len(predictions.label) == metrics["n"]
        right = (predictions.logits.argmax(axis=1) == predictions.label).mean()
        assert metrics["accuracy"] == pytest.approx(right)


def test_training_learns_and_the_best_epoch_is_kept(finetune):
    _, artifact = finetune("trainer.max_epochs=6", "stage.learning_rate=3e-3", WHOLE)
    record = artifact.record
    majority = max(entry["support"] for entry in record.metrics["train"]["per_class"].values())
    assert record.metrics["train"]["accuracy"] > 1.3 * majority / record.metrics["train"]["n"]
    assert record.training["best_score"] == pytest.approx(record.metrics["val"]["f1_macro"], abs=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(plain, finetune):
    first, second, other = plain, finetune()[1], finetune("seed=8")[1]
    assert first.record.id == second.record.id
    assert first.record.metrics == second.record.metrics
    assert first.record.id != other.record.id


def test_head_only_leaves_the_encoder_as_it_was(finetune, encoder):
    _, artifact = finetune("stage.method=head")
    before = AutoModelForSequenceClassification.from_pretrained(encoder).base_model.encoder.state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(artifact.folder).base_model.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_last_layer_alone_moves_where_one_layer_is_asked_for(finetune, encoder):
    _, artifact = finetune("stage.method=last_layers", "stage.layers=1")
    before = AutoModelForSequenceClassification.from_pretrained(encoder).base_model.encoder.layer
    after = AutoModelForSequenceClassification.from_pretrained(artifact.folder).base_model.encoder.layer
    first, last = (
        torch.equal(before[i].output.dense.weight, after[i].output.dense.weight) for i in (0, len(before) - 1)
    )
    assert first
    assert not last


def test_a_run_writes_no_less_than_is_looked_for_on_the_disk(plain, compose_config, overrides):
    experiment, folder = parse(compose_config(*overrides)), plain.folder.parent
    run = run_of(experiment, folder, {})
    expected = experiment.stage.writes(run, experiment.stage.parents(run)[0])
    weights = (plain.folder / "model.safetensors").stat().st_size
    assert 6 * weights < expected <= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_final_trains_on_validation_too_and_evaluates_on_test_alone(finetune, monkeypatch, recwarn):
    # Lightning's advice on a machine of 16 cores.
    monkeypatch.setattr(data_connector, "suggested_max_num_workers", lambda processes: 15)
    value, artifact = finetune("stage.final=true")
    said = [str(warning.message) for warning in recwarn]
    assert not [one for one in said if any(word in one for word in ("workers", "LeafSpec", "val_dataloader"))]
    assert value is None
    assert set(artifact.record.metrics) == {"train", "test"}
    assert artifact.record.training["final"] is True
    assert "best_epoch" not in artifact.record.training


def test_evaluate_test_false_leaves_test_unread(finetune):
    _, artifact = finetune("stage.evaluate_test=false", "stage.evaluate_train=false")
    assert set(artifact.record.metrics) == {"val"}


@pytest.mark.parametrize(
    "options",
    [
        ["callback=averaging"],
        ["stage.layer_decay=0.8", "stage.head_learning_rate=5e-3", "stage.schedule=cosine"],
        ["stage.class_weights=balanced", "stage.label_smoothing=0.1", "stage.schedule=polynomial"],
        ["trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=null", "callback=none", "logger=none"],
        ["trainer.precision=bf16-mixed", "objective=val/loss", "stage.schedule=constant"],
        ["data.folds=4", "data.fold=1", "objective=val/recall_extremely_negative"],
    ],
    ids=lambda options: options[0],
)
def test_the_options_run(finetune, options):
    value, artifact = finetune("trainer.max_epochs=1", *options)
    assert value is not None
    assert math.isfinite(value)
    objective = next((one.partition("=")[2] for one in options if one.startswith("objective=")), "val/f1_macro")
    assert value == artifact.metric(objective)
    assert artifact.record.training.get("monitor", objective) == objective
    assert np.isfinite(artifact.predictions("val").logits).all()


def test_an_artifact_can_be_tuned_further_and_its_lineage_is_kept(finetune):
    _, first = finetune("trainer.max_epochs=1")
    _, second = finetune("trainer.max_epochs=1", f"model.name_or_path={first.folder}")
    assert second.record.parent == first.record.id
    assert [ancestor.artifact for ancestor in second.record.lineage] == [None, first.record.id]
    assert second.record.lineage[-1].stage == "finetune"


def test_a_random_encoder_is_recorded_as_not_pretrained(finetune):
    _, artifact = finetune("trainer.max_epochs=1", "model.pretrained=false")
    assert artifact.record.pretrained is False


def test_the_objective_must_be_of_a_label_that_occurs(finetune):
    with pytest.raises(ConfigError, match=r"^objective: got 'val/f1_Neutral', .* did you mean 'val/f1_neutral'\?$"):
        finetune("objective=val/f1_Neutral")


def test_class_weights_must_be_one_a_label(finetune):
    with pytest.raises(ConfigError, match=r"stage\.class_weights: got 2 weights, should be 5"):
        finetune("stage.class_weights=[1.0,2.0]")


def test_the_record_names_no_folder_of_this_machine(finetune, tmp_path, encoder):
    _, artifact = finetune("trainer.max_epochs=1")
    text = (artifact.folder / "artifact.json").read_text() + (artifact.folder / "README.md").read_text()
    for path in (str(tmp_path), str(encoder.parent), str(Path.home()), str(ROOT)):
        assert path not in text


def test_the_saved_model_is_the_one_that_was_evaluated(finetune):
    """With averaged weights too, whose average must leave position ids alone."""
    _, artifact = finetune("callback=averaging", "stage.learning_rate=3e-3", "trainer.max_epochs=4")
    predictor = Predictor.open(artifact, batch_size=16, accelerator="cpu", threads=None, precision="32-true")
    rows = {row["id"]: row["text"] for row in csv.DictReader(SAMPLE.open(newline="", encoding="utf-8"))}
    actual = artifact.predictions("test")
    texts = [repair(rows[str(int(row_id.rpartition(":")[2]))])[0] for row_id in actual.row_id]
    expected = torch.from_numpy(actual.logits).double().softmax(dim=1).numpy()
    np.testing.assert_allclose(predictor.probabilities(texts), expected, atol=1e-5)


def test_final_leaves_out_texts_that_are_also_in_test(finetune, tmp_path):
    """Validation texts whose text is a test text's must not be trained on."""
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "train.csv").write_text("\n".join(lines[:401]) + "\n", encoding="utf-8")
    (tmp_path / "held_out.csv").write_text("\n".join([lines[0], *lines[401:501]]) + "\n", encoding="utf-8")
    (tmp_path / "same.csv").write_text("\n".join([lines[0], *lines[401:501]]) + "\n", encoding="utf-8")
    files = [f"data.train={tmp_path}/train.csv", f"data.val={tmp_path}/held_out.csv", f"data.test={tmp_path}/same.csv"]
    _, artifact = finetune(*files, "stage.final=true", "trainer.max_epochs=1")
    assert artifact.record.training["texts"] == artifact.record.data.sizes["train"]
    assert artifact.record.data.sizes["val"] == 100


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data.val_fraction=0"], "data.val_fraction: leaves no texts to validate on"),
        (["data.test_fraction=0"], "data.test_fraction: leaves no texts to test on"),
        (["callback=early_stopping"], "callback: got early_stopping without checkpoint"),
        (
            ["trainer.precision=16-mixed", "trainer=cpu"],
            "trainer.precision: got '16-mixed', should be auto or bf16-mixed",
        ),
        (["trainer.limit_train_batches=0.001"], "trainer.limit_train_batches: got 0.001, which leaves none of"),
        (["trainer.max_steps=3"], "trainer.max_steps: got 3, should be at least"),
    ],
)
def test_invalid_settings_raise_before_training(finetune, overrides, line):
    with pytest.raises(ConfigError) as caught:
        finetune(*overrides)
    assert str(caught.value).startswith(line)


def test_an_artifact_may_have_no_evaluation(finetune):
    flags = ["stage.final=true", "stage.evaluate_train=false", "stage.evaluate_test=false", "data.val_fraction=0"]
    _, artifact = finetune(*flags, "stage.measure_cost=true", "trainer.max_epochs=1")
    assert artifact.record.metrics == {}
    assert artifact.record.cost["texts_per_s"] > 0


def test_a_second_run_into_the_same_folder_is_refused_at_once(compose_config, overrides, tmp_path):
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="exists already"):
        execute(compose_config(*overrides), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_diverged_training_raises(finetune):
    with pytest.raises(ModelError, match=r"not finite: training diverged \(lower its learning rate\)"):
        finetune("stage.learning_rate=1e30", "trainer.gradient_clip_val=null", "stage.warmup_fraction=0")


def test_without_checkpoints_the_last_weights_are_kept_and_no_best_is_recorded(finetune):
    _, artifact = finetune("callback=none")
    assert "best_epoch" not in artifact.record.training
    assert not (artifact.folder.parent / "checkpoints").exists()


def test_the_last_state_is_saved_after_every_epoch_though_it_is_not_the_best(finetune):
    _, artifact = finetune("trainer.max_epochs=3", "stage.schedule=constant", "stage.learning_rate=1e-12")
    assert artifact.record.training["best_epoch"] == 1
    state = torch.load(artifact.folder.parent / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["epoch"] == 2


def test_the_last_checkpoint_gives_the_artifact_without_new_training(plain, finetune):
    _, again = finetune(f"resume={plain.folder.parent / 'checkpoints' / 'last.ckpt'}")
    assert again.record.metrics == plain.record.metrics
    assert again.record.training["resumed"] is True


def test_secrets_are_in_no_record(finetune, monkeypatch):
    monkeypatch.setenv("SOME_VALUE", "hunter2-from-environment")
    _, artifact = finetune(
        "trainer.max_epochs=1",
        "+logger.own._target_=pytorch_lightning.loggers.CSVLogger",
        "+logger.own.save_dir=${cache_dir}",
        "+logger.own.name=${oc.env:SOME_VALUE}",
    )
    written = "".join(path.read_text() for path in artifact.folder.glob("*.json"))
    assert "hunter2" not in written
    assert artifact.record.config["logger"]["own"]["name"] == "${oc.env:SOME_VALUE}"


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (7, []),
        (7, ["callback=averaging"]),
        (7, ["trainer.accumulate_grad_batches=2"]),
        (4, ["trainer.val_check_interval=0.5"]),
        (9, []),
        (18, []),
    ],
    ids=str,
)
def test_an_interrupted_run_resumes_with_the_same_result(
    plain, finetune, compose_config, overrides, tmp_path, steps, options
):
    whole = finetune(*options)[1] if options else plain
    checkpoint = interrupt_after(steps, compose_config(*overrides, *options), tmp_path / "broken")
    _, resumed = finetune(*options, f"resume={checkpoint}")
    assert resumed.record.id == whole.record.id
    assert resumed.record.metrics == whole.record.metrics


def interrupt_after(steps: int, config, output: Path) -> Path:
    """Send this process SIGINT after `steps` training steps."""
    from chirplet.module.classifier import Classifier

    step = Classifier.training_step
    count = 0

    def counted(self, batch, batch_index):
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_index)

    Classifier.training_step = counted
    try:
        with pytest.raises(Interrupted, match=r"interrupted at step \d+; .*resume="):
            execute(config, output)
    finally:
        Classifier.training_step = step
    assert not (output / "artifact").exists()
    return output / "checkpoints" / "interrupted.ckpt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "is no checkpoint of a run"),
        (b"", "is no checkpoint of a run"),
        ({"epoch": 1}, "is no checkpoint of a run"),
        ({"state_dict": {}}, "does not fit this run"),
    ],
)
def test_a_file_that_is_no_checkpoint_raises_in_one_line(finetune, tmp_path, content, message):
    path = tmp_path / "other.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=message) as caught:
        finetune(f"resume={path}")
    assert "\n" not in str(caught.value)


def test_the_command_line_prints_the_table_and_the_next_command(overrides, tmp_path):
    done = command("stage=finetune", *overrides, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert f"stage=predict artifact={tmp_path}/out/artifact" in done.stdout
    assert json.loads((tmp_path / "out" / "artifact" / "artifact.json").read_text())["seed"] == 42
