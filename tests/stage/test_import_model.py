"""A classifier that was trained elsewhere becomes an artifact: its own head, the data's names and order of labels."""

import csv
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import chirplet
from architectures import KINDS
from checkpoints import change_config, tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.artifact.foreign import labels_override
from chirplet.cli.experiment import execute
from chirplet.model.loading.classifier import reorder_labels
from chirplet.model.loading.quiet import quiet
from chirplet.stage.import_model import ImportModel
from chirplet.stage.run.context import ArtifactFolder
from chirplet.system.error import ConfigError, ModelError
from places import SAMPLE
from runs import small_run
from tiny_encoders import rectangle, tiny_encoder

NAMES = ["Positive", "Extremely Negative", "Neutral", "Extremely Positive", "Negative"]
MAPPING = f"stage.labels={{{', '.join(f'LABEL_{i}: {name}' for i, name in enumerate(NAMES))}}}"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A BERT with a random head of five classes, as transformers saves it."""
    base, folder = tiny_bert(tmp_path_factory.mktemp("base")), tmp_path_factory.mktemp("elsewhere")
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(3)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5)
        model.classifier.weight.normal_()
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture
def importing(foreign, compose_config, tmp_path):
    """Import the model, or another one, with further overrides. Returns the artifact."""

    def run(*more: str, model: Path = foreign) -> Artifact:
        execute(compose_config("stage=import_model", *small_run(model, tmp_path), "logger=none", *more), tmp_path)
        return Artifact.open(tmp_path / "artifact")

    return run


def test_its_answers_stay_with_the_data_s_names_in_the_data_s_order(importing, foreign):
    artifact = importing(MAPPING)
    record = artifact.record
    assert (record.stage, record.method, record.pretrained) == ("import_model", "bert", True)
    assert record.lineage[0].name == foreign.name and record.labels == sorted(NAMES)
    assert set(record.metrics) == {"val", "test"} and record.training["labels"]["LABEL_4"] == "Negative"
    texts = [row["text"] for row in csv.DictReader(SAMPLE.open(encoding="utf-8"))][:20]
    answer = chirplet.load(artifact.folder)(texts).probabilities
    with quiet(), torch.no_grad():
        model = AutoModelForSequenceClassification.from_pretrained(foreign).eval()
        saved = AutoModelForSequenceClassification.from_pretrained(artifact.folder).eval()
        ids = torch.arange(5, 25)[None]
        before, after = (one(input_ids=ids).logits[0].numpy() for one in (model, saved))
    assert saved.config.id2label == dict(enumerate(record.labels))
    np.testing.assert_allclose(after, before[[NAMES.index(label) for label in record.labels]], atol=1e-5)
    assert torch.equal(saved.bert.encoder.layer[1].output.dense.weight, model.bert.encoder.layer[1].output.dense.weight)
    assert answer.shape == (20, 5) and np.ptp(answer, axis=0).max() > 0.001


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (
            "null",
            r"stage.labels: got null, should give each label of the model one of data=csv; with what each stands ",
        ),
        ("{LABEL_0: Positive}", r"stage.labels: got LABEL_0: Positive, should give .* 'stage.labels={LABEL_0:Ext"),
        (MAPPING.partition("=")[2].replace("Neutral", "Negative"), r"stage.labels: got LABEL_0: Positive, "),
    ],
)
def test_labels_that_do_not_fit_are_told_with_what_would_work(labels, line, importing, compose_config):
    with pytest.raises(ConfigError, match=line) as caught:
        importing(f"stage.labels={labels}")
    (command,) = re.findall(r"'(stage\.labels=[^']*)'", str(caught.value))
    assert compose_config("stage=import_model", command).stage.labels["LABEL_0"] == "Extremely Negative"


def test_positions_and_names_that_need_quotes(compose_config):
    override = labels_override(["1 star", "é", "LABEL_2", "true"], ["don't", "a, b", "no", "null"])
    (plain,) = shlex.split(override)
    labels = compose_config("stage=import_model", plain).stage.labels
    assert labels == {0: "don't", 1: "a, b", "LABEL_2": "no", 3: "null"}
    stage = ImportModel.model_construct(labels=dict(labels))
    corpus = SimpleNamespace(labels=("null", "no", "don't", "a, b"), name="csv")
    assert stage.names(["1 star", "é", "LABEL_2", "true"], corpus) == ["don't", "a, b", "no", "null"]


def test_positions_are_in_the_record_and_the_card(importing):
    artifact = importing(f"stage.labels={{{', '.join(f'{i}: {name}' for i, name in enumerate(NAMES))}}}")
    assert artifact.record.settings["labels"] == {str(i): name for i, name in enumerate(NAMES)}
    assert "labels.0" in (artifact.folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("counts", "warned"),
    [
        ([[1, 9, 0], [8, 1, 1], [0, 1, 9]], True),
        ([[5, 4, 1], [4, 5, 1], [0, 1, 9]], False),
        ([[1, 9, 0], [1, 9, 0], [0, 9, 1]], False),  # nearly always the second label, in no order
    ],
)
def test_names_in_another_order_that_fit_better_are_told(counts, warned, caplog):
    record = SimpleNamespace(metrics={"val": {"confusion_matrix": counts}}, labels=["a", "b", "c"])
    ImportModel.model_construct()._doubt(SimpleNamespace(record=record), ["LABEL_2", "LABEL_0", "LABEL_1"])
    hint = "50% more texts would be labeled correctly with other names: 'stage.labels={LABEL_2:b,LABEL_0:a,LABEL_1:c}'"
    assert [message.getMessage() for message in caplog.records] == [hint] * warned


def test_another_number_of_labels_and_what_is_no_classifier_are_told(importing, tmp_path):
    with pytest.raises(
        ConfigError, match=r"the model has 5 labels .* should have the 2 of data=csv \(0, 1\); data.labels"
    ):
        (tmp_path / "two.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(60)))
        importing(f"data.train={tmp_path}/two.csv", "data.label_column=label")
    with pytest.raises(ModelError, match=r"lacks 2 weights of a classifier \(classifier.bias, ...\), so it is none"):
        importing(model=tiny_bert(tmp_path / "encoder"))


def test_a_model_of_another_task_is_told(importing, foreign, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in foreign.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    change_config(other, problem_type="multi_label_classification")
    with pytest.raises(ModelError, match="is for multi_label_classification, should be for single_label"):
        importing(MAPPING, model=other)


def test_the_refusal_of_a_folder_without_a_record_names_the_command(foreign, compose_config, tmp_path):
    with pytest.raises(
        ValueError, match=r"it has no artifact.json; of a classifier that was trained elsewhere"
    ) as caught:
        TypeAdapter(ArtifactFolder).validate_python(str(foreign))
    (command,) = re.findall(r"chirplet (.*) makes one", str(caught.value))
    assert f"stage=import_model model=local model.name_or_path={foreign} data=csv data.train=FILE" in command
    assert "'stage.labels={LABEL_0:NAME,LABEL_1:NAME" in command


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_s_labels_can_be_put_in_another_order(kind):
    model, (ids, mask) = tiny_encoder(kind), rectangle(3, 12)
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask).logits
        reorder_labels(model, [2, 0, 1], ["a", "b", "c"])
        after = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(after, before[:, [2, 0, 1]])
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"} and model.config.label2id["b"] == 1
