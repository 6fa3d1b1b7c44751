"""Distillation from configuration to artifact, on real texts with small models of two families."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from checkpoints import tiny_bert, tiny_roberta
from chirplet.artifact.artifact import Artifact
from chirplet.artifact.predictions import BASELINE_PREDICTIONS
from chirplet.callback.base import LAST
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute, run_of
from chirplet.config.schema import ConfigError
from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.data.preparation.prepare import prepare
from chirplet.stage.distillation.label_only_baseline import as_many, baseline_run
from chirplet.stage.distillation.teachers import EVERYONE, Teachers, _weights, open_teachers
from chirplet.system.error import ArtifactError, DataError, Interrupted, ModelError
from forked import command
from places import SAMPLE
from records import make_record
from runs import WHOLE, small_run

Distill = Callable[..., Artifact]

pytestmark = pytest.mark.usefixtures("costs_here")


@dataclass(frozen=True)
class School:
    """A folder with a fine-tuned BERT as teacher, and a pretrained RoBERTa and BERT as students."""

    folder: Path
    teacher: Path
    roberta: Path
    bert: Path


@pytest.fixture(scope="module")
def school(tmp_path_factory) -> School:
    from hydra import compose, initialize_config_dir

    from places import CONF

    folder = tmp_path_factory.mktemp("school")
    bert, roberta = tiny_bert(folder / "bert"), tiny_roberta(folder / "roberta")
    overrides = [
        *small_run(bert, folder),
        "stage.learning_rate=5e-3",
        "trainer.max_epochs=6",
        "stage.evaluate_test=true",
    ]
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        execute(compose("config", overrides=["stage=finetune", *overrides]), folder / "finetune")
    return School(folder, folder / "finetune" / "artifact", roberta, bert)


@pytest.fixture(scope="module")
def overrides(school) -> list[str]:
    common = small_run(school.bert, school.folder)
    return [*common, "stage=distill", "stage.learning_rate=3e-3", "trainer.max_epochs=1", f"teacher={school.teacher}"]


@pytest.fixture
def distill(compose_config, overrides, tmp_path) -> Distill:
    """Run with further overrides and open the artifact."""
    count = 0

    def run(*more: str) -> Artifact:
        nonlocal count
        count += 1
        output = tmp_path / f"run{count}"
        execute(compose_config(*overrides, *more), output)
        return Artifact.open(output / "artifact")

    return run


@pytest.fixture(scope="module")
def plain(compose_config, overrides, school) -> Artifact:
    """The student without further overrides."""
    execute(compose_config(*overrides), school.folder / "plain")
    return Artifact.open(school.folder / "plain" / "artifact")


@pytest.fixture(scope="module")
def two_epochs(compose_config, overrides, school) -> Artifact:
    execute(compose_config(*overrides, "trainer.max_epochs=2"), school.folder / "two_epochs")
    return Artifact.open(school.folder / "two_epochs" / "artifact")


def roberta_student(school: School) -> list[str]:
    return ["model@student=local", f"student.name_or_path={school.roberta}", "student.max_length=48"]


def test_by_default_the_student_is_the_lower_half_of_its_teacher_and_has_a_baseline(distill, school):
    artifact = distill("stage.measure_cost=true")
    record, teacher = artifact.record, Artifact.open(school.teacher).record
    assert (record.stage, record.method) == ("distill", "logits")
    assert record.training["tokens"]["texts"] == record.data.sizes["train"] + record.data.sizes["val"]
    assert record.parent == teacher.id
    assert record.pretrained is True
    assert [ancestor.artifact for ancestor in record.lineage] == [None, teacher.id]
    assert (record.cleaning, record.max_length, record.labels) == (teacher.cleaning, teacher.max_length, teacher.labels)
    model = AutoModelForSequenceClassification.from_pretrained(artifact.folder).eval()
    assert model.config.num_hidden_layers == 1
    assert record.cost["params_total"] < teacher_size(school)
    (recorded,) = record.training["teachers"].values()
    assert recorded["accuracy"]["test"] == teacher.metrics["test"]["accuracy"]
    baseline = record.training["label_only_baseline"]
    assert baseline["training"]["steps"] == record.training["steps"]
    for split in ("train", "val", "test"):
        student, label_only = artifact.predictions(split), artifact.predictions(split, BASELINE_PREDICTIONS)
        assert student.row_id == label_only.row_id
        accuracies = [(part.logits.argmax(axis=1) == part.label).mean() for part in (student, label_only)]
        assert record.metrics[split]["accuracy"] == pytest.approx(accuracies[0])
        assert baseline[split]["accuracy"] == pytest.approx(accuracies[1])
        difference = baseline[split]["difference"]
        assert difference["value"] == pytest.approx(accuracies[0] - accuracies[1])
        assert difference["low"] <= difference["value"] <= difference["high"]


def teacher_size(school: School) -> int:
    return AutoModelForSequenceClassification.from_pretrained(school.teacher).num_parameters()


def test_student_and_baseline_start_from_the_same_weights_and_end_with_others(plain, distill):
    """With a learning rate near 0 both have the same logits, with the default they do not."""
    for artifact, same in ((distill("stage.learning_rate=1e-12"), True), (plain, False)):
        student, baseline = artifact.predictions("test"), artifact.predictions("test", BASELINE_PREDICTIONS)
        assert np.allclose(student.logits, baseline.logits, atol=1e-4) is same


def test_with_alpha_1_a_student_equals_its_baseline(distill):
    artifact = distill("stage.alpha=1.0")
    student, baseline = artifact.predictions("test"), artifact.predictions("test", BASELINE_PREDICTIONS)
    np.testing.assert_allclose(student.logits, baseline.logits, atol=1e-5)


def test_a_student_approaches_the_logits_of_its_teacher(distill, school):
    """Its logits come nearer to the teacher's than those of the baseline."""
    artifact = distill(
        "trainer.max_epochs=12", "stage.alpha=0", "distiller.logits.loss=mse", "stage.learning_rate=5e-3"
    )
    teacher = Artifact.open(school.teacher).predictions("train").logits
    files = ("predictions.parquet", BASELINE_PREDICTIONS)
    student, baseline = (artifact.predictions("train", file).logits for file in files)
    assert np.square(student - teacher).mean() < 0.75 * np.square(baseline - teacher).mean()


def test_a_student_of_another_family_keeps_its_tokenizer(distill, school):
    """A RoBERTa learns from a BERT: other vocabulary, cleaning and length."""
    artifact = distill(*roberta_student(school), "student.cleaning=none")
    record = artifact.record
    assert (record.cleaning, record.max_length) == ("none", 48)
    assert record.lineage[0].name == "roberta"
    assert record.parent is None
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (artifact.folder, school.roberta, school.teacher)]
    saved, student, teacher = (tokenizer("worst day ever").input_ids for tokenizer in tokenizers)
    assert saved == student != teacher
    model = AutoModelForSequenceClassification.from_pretrained(artifact.folder)
    assert model.config.model_type == "roberta"
    assert model.config.vocab_size == len(tokenizers[1])


def test_a_baseline_takes_the_steps_of_a_student_that_was_stopped_early(distill):
    """The student's loss is too small to move it, so it never improves; its baseline does."""
    artifact = distill(
        "stage.alpha=0",
        "stage.cut.pretrained=false",
        "stage.learning_rate=3e-4",
        "distiller.logits.weight=1e-14",
        "callback.early_stopping.monitor=val/loss",
        "callback.early_stopping.min_delta=1e-3",
        "callback.early_stopping.patience_validations=1",
        "trainer.max_epochs=6",
    )
    training = artifact.record.training
    assert training["epochs"] == 2
    assert training["label_only_baseline"]["training"]["steps"] == training["steps"]


def test_the_same_seed_gives_the_same_student(plain, distill):
    first, again, other = plain, distill(), distill("seed=8")
    assert first.record.id == again.record.id != other.record.id
    assert first.record.training["label_only_baseline"]["test"] == again.record.training["label_only_baseline"]["test"]


def test_random_weights_are_recorded_as_such(distill, school):
    cut = distill("stage.cut.pretrained=false", "stage.label_only_baseline=false")
    assert cut.record.pretrained is False
    assert cut.record.parent is None
    assert cut.record.settings["cut"]["pretrained"] is False
    named = distill(*roberta_student(school), "student.pretrained=false", "stage.label_only_baseline=false")
    assert "cut" not in named.record.settings
    assert named.record.pretrained is False
    assert "label_only_baseline" not in named.record.training
    assert not (named.folder / BASELINE_PREDICTIONS).exists()


@pytest.mark.parametrize(
    "options",
    [
        ["distiller=[logits,hidden,attention]", "distiller.hidden.weight=0.5", "stage.cut.intermediate_size=32"],
        ["distiller=attention", "distiller.attention.relations=[qq,kk,vv]", "trainer.precision=bf16-mixed"],
        ["distiller=hidden", "distiller.hidden.layers=top", "stage.cut.layers=[1]", "callback=averaging"],
        ["distiller.logits.loss=mse", "stage.class_weights=balanced", "stage.label_smoothing=0.1"],
        ["stage.cut.layers=even", "stage.cut.num_layers=2", "logger=none", "callback=none"],
    ],
    ids=lambda options: options[0],
)
def test_the_options_run(distill, options):
    record = distill(*options).record
    assert record.training["label_only_baseline"]["training"]["steps"] == record.training["steps"] > 0


def test_layer_distillers_need_a_teacher_with_the_same_tokens(distill, school):
    with pytest.raises(ConfigError, match=r"distiller: got hidden, .* differently \(their vocabularies differ\)"):
        distill(*roberta_student(school), "distiller=[logits,hidden]")
    same = ["model@student=local", f"student.name_or_path={school.bert}", "student.max_length=40"]
    with pytest.raises(ConfigError, match=r"differently \(their cleaning is none and twitter_roberta\)"):
        distill(*same, "distiller=attention")
    record = distill(*same, "student.cleaning=twitter_roberta", "distiller=attention").record
    assert record.method == "attention"


def test_invalid_combinations_raise_before_the_teacher_runs(distill, school, tmp_path):
    empty = f"cache_dir={tmp_path}/cache"
    with pytest.raises(ConfigError, match="their vocabularies differ"):
        distill(empty, *roberta_student(school), "distiller=hidden")
    with pytest.raises(ConfigError, match=r"distiller\.attention\.heads: got 3"):
        distill(empty, "distiller=attention", "distiller.attention.heads=3")
    with pytest.raises(ConfigError, match=r"stage\.class_weights: got 1 weights"):
        distill(empty, "stage.class_weights=[1.0]")
    assert (tmp_path / "cache" / "corpus").is_dir()
    assert not (tmp_path / "cache" / "logits").exists()


def test_texts_without_labels_are_learnt_from_the_teacher(distill, tmp_path):
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        known = [row["text"] for row in csv.DictReader(file)][:50]
    with (tmp_path / "more.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([text] for text in known), *([f"text {n} of mine"] for n in range(40))])
    more = [f"unlabeled_files={tmp_path}/more.csv", "stage.unlabeled.text_column=text"]
    artifact = distill(*more, "stage.augmentations_per_text=1", "stage.word_drop=0.2", WHOLE)
    examples = artifact.record.training["texts"]
    labeled = artifact.record.data.sizes["train"]
    assert examples["labeled"] == labeled
    counts = examples["unlabeled"], examples["unlabeled_left_out"], examples["augmented"]
    assert counts == (40, 50, labeled + 40)
    assert list(examples["unlabeled_files"]) == ["more.csv"]
    assert artifact.record.training["steps"] == -(-2 * (labeled + 40) // 32)
    baseline = artifact.record.training["label_only_baseline"]["training"]
    assert baseline["steps"] == artifact.record.training["steps"]
    # In its only epoch the student is validated once, the baseline after each repetition of the labeled texts.
    assert len(validations(artifact.folder.parent / "label_only_baseline")) == 2 * len(
        validations(artifact.folder.parent)
    )
    assert str(tmp_path) not in (artifact.folder / "artifact.json").read_text()


def validations(run: Path) -> list[str]:
    """Validation accuracies logged in training."""
    with next(run.glob("metrics/**/metrics.csv")).open(newline="", encoding="utf-8") as file:
        return [row["val/accuracy"] for row in csv.DictReader(file) if row["val/accuracy"]]


def test_several_teachers_give_the_mean_of_their_logits(distill, school):
    one = distill("stage.label_only_baseline=false")
    twice = distill(
        f"teacher=[{school.teacher},{school.teacher}]", "stage.label_only_baseline=false", "stage.combine=validation"
    )
    np.testing.assert_allclose(one.predictions("test").logits, twice.predictions("test").logits, atol=1e-4)


def test_logits_out_of_fold_come_from_teachers_that_had_the_text_in_validation(
    distill, compose_config, school, tmp_path
):
    folds = []
    for fold in range(2):
        options = ["data.folds=2", f"data.fold={fold}", "trainer.max_epochs=1"]
        execute(compose_config(*small_run(school.bert, school.folder), *options), tmp_path / f"fold{fold}")
        folds.append(tmp_path / f"fold{fold}" / "artifact")
    both = f"teacher=[{folds[0]},{folds[1]}]"
    with pytest.raises(ArtifactError, match=r"teacher: .* was made from other texts than data=csv gives"):
        distill(both)
    run = plain_run(compose_config, school, tmp_path)
    corpus = prepare(run.data, run.cache_dir)
    teachers = open_teachers([str(folder) for folder in folds], corpus, run, "mean", True, False)
    parts = [prepare(run.data.model_copy(update={"folds": 2, "fold": fold}), run.cache_dir) for fold in range(2)]
    assert set(teachers.folds.tolist()) == {0, 1}
    for row, owner in zip(corpus.train.row_id, teachers.folds.tolist(), strict=True):
        assert row in parts[owner].val.row_id
        assert row not in parts[owner].train.row_id
    artifact = distill(both, *roberta_student(school), "stage.out_of_fold=true", "stage.label_only_baseline=false")
    assert len(artifact.record.training["teachers"]) == 2
    # The val texts of a student cannot choose its checkpoint if the teacher it is cut from was trained on them.
    with pytest.raises(ArtifactError, match=r"teacher: .* was trained on \d+ of \d+ val texts"):
        distill(both, "stage.out_of_fold=true")
    distill(both, "stage.out_of_fold=true", "stage.label_only_baseline=false", "data.folds=2", "data.fold=0")
    with pytest.raises(ArtifactError, match=r"teacher: \d+ of 5\d\d train texts were in no teacher's validation"):
        distill(f"teacher=[{folds[0]},{folds[0]}]", "stage.out_of_fold=true")
    with pytest.raises(ArtifactError, match=r"was not made with data.folds and data.fold"):
        distill(f"teacher=[{folds[0]},{school.teacher}]", "stage.out_of_fold=true")


def test_weights_by_validation_are_in_proportion_to_accuracy(tmp_path):
    metrics = make_record().metrics["val"]
    teachers = [
        Artifact(tmp_path, make_record(metrics={"val": metrics | {"accuracy": accuracy}})) for accuracy in (0.6, 0.9)
    ]
    none = Examples([], [], np.empty(0, np.int64), [])
    corpus = Corpus("csv", ("a", "b"), none, none, none, teachers[0].record.data.fingerprint, DataReport())
    assert _weights(teachers, "validation", corpus) == pytest.approx((0.4, 0.6))
    assert _weights(teachers, "mean", corpus) == (0.5, 0.5)


def test_val_accuracy_of_a_teacher_trained_on_val_is_neither_a_weight_nor_recorded(tmp_path):
    """An int8 artifact of such a model has val metrics in its record."""
    final = Artifact(tmp_path, make_record(training={"final": True}))
    none = Examples([], [], np.empty(0, np.int64), [])
    corpus = Corpus("csv", ("a", "b"), none, none, none, final.record.data.fingerprint, DataReport())
    with pytest.raises(ArtifactError, match=r"teacher: .* was trained on val texts too"):
        _weights([final], "validation", corpus)
    (recorded,) = Teachers((final,), (1.0,), None).summary(corpus).values()
    assert "val" in final.record.metrics
    assert "val" not in recorded["accuracy"]


def test_a_baseline_repeats_all_labeled_texts_equally_often_up_to_a_random_rest():
    train = Examples([str(n) for n in range(100)], ["t"] * 100, np.zeros(100, np.int64), [None] * 100)
    assert as_many(train, 100, seed=1) is train
    twice = as_many(train, 250, seed=1)
    counts = np.bincount(np.array(twice.row_id, np.int64))
    assert sorted(counts) == [2] * 50 + [3] * 50
    assert 10 < (counts[:50] == 3).sum() < 40
    assert twice.row_id == as_many(train, 250, seed=1).row_id != as_many(train, 250, seed=2).row_id


def test_a_baseline_of_few_labels_is_validated_after_each_repetition(compose_config, school, tmp_path):
    run = plain_run(compose_config, school, tmp_path)
    assert baseline_run(run, None, 7).trainer == run.trainer.model_copy(update={"max_steps": 7})
    assert baseline_run(run, None, 7, labeled=0.25).trainer.val_check_interval == 0.25
    assert baseline_run(run, None, 7, labeled=0.001).trainer.val_check_interval == 0.1


def test_each_text_gets_the_logits_of_its_fold_s_teacher(compose_config, school, tmp_path):
    """The logits equal those of the teacher that `folds` names, or the weighted mean for `EVERYONE`."""
    teacher = Artifact.open(school.teacher)
    other = Artifact.open(other_teacher(compose_config, school, tmp_path))
    run = plain_run(compose_config, school, tmp_path)
    corpus = prepare(run.data, run.cache_dir)
    both = Teachers((teacher, other), (0.25, 0.75), None)
    one, two = (Teachers((artifact,), (1.0,), None).logits(corpus.val, None, run, 8) for artifact in (teacher, other))
    np.testing.assert_allclose(both.logits(corpus.val, None, run, 8), 0.25 * one + 0.75 * two, atol=1e-5)
    folds = np.arange(len(corpus.val)) % 3 - 1
    assert folds[0] == EVERYONE
    logits = both.logits(corpus.val, folds, run, 8)
    np.testing.assert_allclose(logits[1::3], one[1::3], atol=0.03)
    np.testing.assert_allclose(logits[2::3], two[2::3], atol=0.03)
    np.testing.assert_allclose(logits[::3], (0.25 * one + 0.75 * two)[::3], atol=0.03)


def other_teacher(compose_config, school: School, folder: Path) -> Path:
    execute(compose_config(*small_run(school.bert, school.folder), "seed=3", "trainer.max_epochs=1"), folder / "other")
    return folder / "other" / "artifact"


def plain_run(compose_config, school: School, folder: Path):
    """A run as `execute` makes it."""
    experiment = parse(compose_config(*small_run(school.bert, school.folder)))
    return replace(run_of(experiment, folder, {}), loggers={}, callbacks={}, seed=1)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["teacher=null"], "teacher: is missing"),
        (["~distiller.logits"], "stage.distiller: is empty"),
        (
            ["stage.augmentations_per_text=2"],
            "stage.augmentations_per_text and word_drop: got 2 and 0, should both be 0 or neither",
        ),
        (["stage.out_of_fold=true"], "stage.out_of_fold: got true with one teacher"),
        (["unlabeled_files=nowhere.csv"], "stage.unlabeled_files: got 'nowhere.csv', which is no file"),
        (["stage.alpha=1.5"], "stage.alpha: got 1.5, should be less than or equal to 1"),
        (["stage.cut.num_layers=3"], "stage.cut.num_layers: got 3, should be at most 2"),
        (["distiller.logits.temperature=0"], "distiller.logits.temperature: got 0, should be greater than 0"),
    ],
)
def test_invalid_settings_are_reported_in_one_line(distill, options, line):
    with pytest.raises(ConfigError) as caught:
        distill(*options)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_model_is_no_teacher(overrides, compose_config):
    without_teacher = [override for override in overrides if not override.startswith("teacher=")]
    with pytest.raises(ConfigError, match=r"stage\.teacher: got a model that is not fine-tuned, should be the folder"):
        parse(compose_config(*without_teacher, "model@teacher=minilm"))


def test_an_error_about_the_student_s_model_names_its_keys(distill, school):
    with pytest.raises(ModelError, match=r"^student\.max_length: got 400, should be at most"):
        distill(*roberta_student(school), "student.max_length=400")


def trained_on_val(folder: Path, copy: Path) -> Path:
    """A copy whose record has `final: true`."""
    shutil.copytree(folder, copy)
    record = json.loads((copy / "artifact.json").read_text())
    record["training"]["final"] = True
    (copy / "artifact.json").write_text(json.dumps(record))
    return copy


def test_a_student_cut_from_a_teacher_trained_on_val_is_refused(distill, school, tmp_path):
    final = trained_on_val(school.teacher, tmp_path / "final")
    with pytest.raises(ArtifactError, match=r"teacher: .* was trained on val texts too \(stage.final=true\)"):
        distill(f"teacher={final}")
    alike = ["student.max_length=40", "student.cleaning=twitter_roberta"]
    with pytest.raises(ArtifactError, match=r"student: .* was trained on val texts too"):
        distill("model@student=local", f"student.name_or_path={final}", *alike)


def test_a_model_fine_tuned_from_such_an_artifact_is_recorded_as_final(compose_config, school, tmp_path):
    final = trained_on_val(school.teacher, tmp_path / "final")
    options = [*small_run(school.bert, school.folder), f"model.name_or_path={final}", "trainer.max_epochs=1"]
    execute(compose_config("stage=finetune", *options), tmp_path / "tuned")
    assert Artifact.open(tmp_path / "tuned" / "artifact").record.training["final"] is True


def test_other_unlabeled_texts_are_another_run(compose_config, overrides, tmp_path):
    (tmp_path / "more.csv").write_text("text\na text of no corpus\nand one more\n")
    few = ["stage.label_only_baseline=false", "stage.evaluate_train=false"]
    execute(compose_config(*overrides, *few), tmp_path / "run")
    with pytest.raises(ArtifactError, match="exists already; artifacts are not overwritten"):
        execute(compose_config(*overrides, *few, f"unlabeled_files={tmp_path}/more.csv"), tmp_path / "run")


def test_unlabeled_texts_must_be_new_and_may_be_in_another_encoding(distill, tmp_path):
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        known = next(csv.DictReader(file))["text"]
    (tmp_path / "known.csv").write_text(f'text\n"{known}"\n')
    with pytest.raises(DataError, match=r"unlabeled_files: data=csv already has all 1 texts"):
        distill(f"unlabeled_files={tmp_path}/known.csv")
    (tmp_path / "old.csv").write_bytes("text\ncaf\u00e9 au lait\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"unlabeled_files: .*set stage\.unlabeled\.encoding"):
        distill(f"unlabeled_files={tmp_path}/old.csv")
    options = ["stage.unlabeled.encoding=latin-1", "stage.label_only_baseline=false", "stage.evaluate_train=false"]
    assert distill(f"unlabeled_files={tmp_path}/old.csv", *options).record.training["texts"]["unlabeled"] == 1


def test_a_student_may_be_small_and_new(distill, school):
    size = [
        "student.shape.layers=1",
        "student.shape.hidden_size=16",
        "student.shape.heads=2",
        "student.shape.intermediate_size=24",
    ]
    artifact = distill(*roberta_student(school), "student.pretrained=false", *size, "stage.label_only_baseline=false")
    config = AutoModelForSequenceClassification.from_pretrained(artifact.folder).config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (1, 16, 24)
    assert artifact.record.pretrained is False
    with pytest.raises(ConfigError, match=r"student\.shape: got another shape .* or set pretrained=false"):
        distill(*roberta_student(school), *size)


def test_a_teacher_with_other_labels_or_texts_is_refused(distill, tmp_path):
    lines = SAMPLE.read_text(encoding="utf-8").replace(",Neutral", ",Indifferent")
    (tmp_path / "other.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"teacher: .* has the labels Extremely Negative, .* \(other labels\)"):
        distill(f"data.train={tmp_path}/other.csv")
    with pytest.raises(ArtifactError, match=r"teacher: .* \(in another order\), should have Neutral, Extremely"):
        distill("data.labels=[Neutral,Extremely Negative,Extremely Positive,Negative,Positive]")
    with pytest.raises(ArtifactError, match=r"teacher: .* made from other texts .* should be data.split_seed=42"):
        distill("data.split_seed=1")
    with pytest.raises(ArtifactError, match=r"stage.combine: .*should be mean.* on other validation texts"):
        distill("data.split_seed=1", "stage.other_data=true", "stage.combine=validation")
    record = distill("data.split_seed=1", "stage.other_data=true", "stage.label_only_baseline=false").record
    assert [teacher["accuracy"] for teacher in record.training["teachers"].values()] == [{}]


def test_a_student_trained_on_held_out_texts_is_refused(distill, compose_config, school, tmp_path):
    """The weights of `model@student` are an artifact's here."""
    execute(compose_config(*small_run(school.bert, school.folder), "data.split_seed=1"), tmp_path / "other")
    same_tokens = ["student.max_length=40", "student.cleaning=twitter_roberta"]
    student = ["model@student=local", f"student.name_or_path={tmp_path}/other/artifact", *same_tokens]
    with pytest.raises(ArtifactError, match=r"student: .* made from other texts .* should be data.split_seed=1"):
        distill(*student)
    record = distill(*student, "stage.other_data=true", "stage.label_only_baseline=false").record
    assert record.parent == Artifact.open(tmp_path / "other" / "artifact").record.id


def test_a_named_student_may_be_cut(distill, school, capsys):
    untrained = ["stage.learning_rate=1e-12", "stage.label_only_baseline=false"]
    cut = distill(*roberta_student(school), "stage.cut.layers=[1]", *untrained)
    assert "1 of 2 layers of roberta" in capsys.readouterr().out
    assert [ancestor.name for ancestor in cut.record.lineage] == ["roberta"]
    assert cut.record.settings["cut"]["layers"] == [1]
    student, whole = (
        AutoModelForSequenceClassification.from_pretrained(folder) for folder in (cut.folder, school.roberta)
    )
    assert student.config.num_hidden_layers == 1
    (layer,), expected = student.roberta.encoder.layer, whole.roberta.encoder.layer[1]
    for ours, theirs in zip(layer.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stage.cut.num_layers=3", "stage.cut.num_layers: got 3, should be at most 2, the layers that the model has"),
        ("stage.cut.pretrained=false", "stage.cut.pretrained: got false, should be true with model@student"),
    ],
)
def test_a_cut_that_a_named_student_cannot_have_is_refused(distill, school, override, line):
    with pytest.raises(ConfigError) as caught:
        distill(*roberta_student(school), override)
    assert str(caught.value).startswith(line)


def test_an_interrupted_student_resumes(two_epochs, distill, compose_config, overrides, tmp_path):
    checkpoint = interrupt("Student", 7, compose_config(*overrides, "trainer.max_epochs=2"), tmp_path / "broken")
    assert checkpoint == tmp_path / "broken" / "checkpoints" / "interrupted.ckpt"
    assert same(distill("trainer.max_epochs=2", f"resume={checkpoint}"), two_epochs)


def test_an_interrupted_baseline_resumes_and_the_student_is_not_trained_again(
    two_epochs, distill, compose_config, overrides, tmp_path
):
    checkpoint = interrupt("Classifier", 7, compose_config(*overrides, "trainer.max_epochs=2"), tmp_path / "broken")
    assert checkpoint == tmp_path / "broken" / "label_only_baseline" / "checkpoints" / "interrupted.ckpt"
    assert same(distill("trainer.max_epochs=2", f"resume={checkpoint}"), two_epochs)
    (tmp_path / "broken" / "checkpoints" / LAST).unlink()
    with pytest.raises(ConfigError, match=r"resume: .* of the label-only baseline, but the student's .* is missing"):
        distill("trainer.max_epochs=2", f"resume={checkpoint}")


def same(one: Artifact, other: Artifact) -> bool:
    return one.record.id == other.record.id and one.record.metrics == other.record.metrics


def interrupt(kind: str, steps: int, config, output: Path) -> Path:
    """Send this process SIGINT after `steps` training steps of the student or its baseline."""
    from chirplet.module import classifier, distillation

    module = {"Student": distillation.Student, "Classifier": classifier.Classifier}[kind]
    step, count = module.training_step, 0

    def counted(self, batch, batch_index):
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_index)

    module.training_step = counted
    try:
        with pytest.raises(Interrupted, match=r"resume=") as caught:
            execute(config, output)
    finally:
        module.training_step = step
    assert not (output / "artifact").exists()
    return Path(str(caught.value).partition("resume=")[2].split()[0])


def test_a_teacher_may_be_bf16(distill, school, tmp_path):
    """The teacher is saved as `quantizer=bf16` does."""
    model = AutoModelForSequenceClassification.from_pretrained(school.teacher, dtype=torch.bfloat16)
    halved = tmp_path / "halved"
    halved.mkdir()
    for file in school.teacher.iterdir():
        (halved / file.name).write_bytes(file.read_bytes())
    model.save_pretrained(halved)
    artifact = distill(f"teacher={halved}", "stage.label_only_baseline=false")
    assert AutoModelForSequenceClassification.from_pretrained(artifact.folder, dtype="auto").dtype == torch.float32


@pytest.mark.parametrize("quantizer", ["torch_int8", "onnx_int8"])
def test_a_teacher_may_be_quantized_if_no_student_is_cut_from_it(distill, compose_config, school, tmp_path, quantizer):
    options = [
        "stage=quantize",
        f"artifact={school.teacher}",
        f"quantizer={quantizer}",
        "stage.tolerance=null",
        "stage.sensitivity_texts=0",
    ]
    execute(compose_config(*small_run(school.bert, school.folder), *options), tmp_path / "quantized")
    teacher = f"teacher={tmp_path}/quantized/artifact"
    record = distill(teacher, *roberta_student(school), "stage.label_only_baseline=false").record
    (recorded,) = record.training["teachers"].values()
    assert (recorded["stage"], recorded["method"]) == ("quantize", quantizer)
    with pytest.raises(ArtifactError, match=r"^teacher: got a model for .*, should be for pytorch; start from"):
        distill(teacher)
    same = ["model@student=local", f"student.name_or_path={school.bert}", "student.max_length=40"]
    with pytest.raises(ArtifactError, match=r"^teacher: got a model for .*, should be for pytorch; start from"):
        distill(teacher, *same, "student.cleaning=twitter_roberta", "distiller=hidden")


def test_the_command_line_compares_student_and_baseline(overrides, tmp_path):
    done = command(*overrides, f"hydra.run.dir={tmp_path}/out", env={**os.environ, "COLUMNS": "140"})
    assert done.returncode == 0, done.stderr
    for text in (
        "student: ",
        "label-only baseline: ",
        "McNemar",
        "95% interval",
        f"stage=predict artifact={tmp_path}/out/artifact",
    ):
        assert text in done.stdout
    assert json.loads((tmp_path / "out" / "artifact" / "artifact.json").read_text())["stage"] == "distill"
