"""Records that versions with schema 1 wrote: a distilled student and a quantized model, as they were on disk."""

import json
import shutil
from pathlib import Path

import pytest

from chirplet.artifact.artifact import RECORD, Artifact
from chirplet.artifact.migration import BASELINE_PREDICTIONS_1, migrated
from chirplet.cli.reproduce.settings import restored

OLD = Path(__file__).parent / "schema_1"


def written(stage: str) -> dict:
    return json.loads((OLD / f"{stage}.json").read_text(encoding="utf-8"))


def opened(stage: str, folder: Path) -> Artifact:
    folder.mkdir(exist_ok=True)
    shutil.copy(OLD / f"{stage}.json", folder / RECORD)
    return Artifact.open(folder)


def test_a_student(tmp_path):
    old, record = written("distill"), opened("distill", tmp_path).record
    assert old["schema_version"] == 1 and record.schema_version == 2
    assert record.training["label_only_baseline"]["test"] == old["training"]["control"]["test"]
    assert record.training["texts"] == {"labeled": 2876, "unlabeled": 0, "augmented": 0}
    assert record.settings["label_only_baseline"] is True
    cut = {"layers": "lower", "num_layers": None, "intermediate_size": None, "pretrained": True}
    assert record.settings["cut"] == cut
    assert record.metrics == old["metrics"] and record.id == old["id"]


def test_a_quantized_model(tmp_path):
    old, artifact = written("onnx_int8"), opened("onnx_int8", tmp_path)
    training, cost = artifact.record.training, artifact.record.cost
    assert training["excluded_layers"] == old["training"]["kept"]
    assert training["verified"]["texts"] == old["training"]["verified"]["tweets"]
    assert cost["compared_with"]["times_texts_per_s"] == old["cost"]["beside"]["times_tweets_per_s"]
    assert artifact.costs()["cost/texts_per_s"] == old["cost"]["tweets_per_s"]


@pytest.mark.parametrize(("stage", "name"), [("distill", "distill"), ("onnx_int8", "quantize")])
def test_every_recorded_key_is_a_key_of_today(compose_config, stage, name):
    """What the record's configuration holds can be put onto a configuration that is composed now."""
    distillers = ["distiller=[logits,hidden,attention]"] if name == "distill" else []
    cfg = compose_config(f"stage={name}", *distillers)
    old = written(stage)["config"]
    again = restored(cfg, migrated(written(stage))["config"], ())
    assert again.stage.batch_size == old["stage"]["batch_size"]
    assert again.trainer.max_epochs == old["trainer"]["max_epochs"]


def test_labels_keep_their_names(tmp_path):
    """Names that users gave are none of the schema's."""
    old = written("distill")
    labels = ["control", "kept", "views", "tweets", "beside"]
    old["labels"] = labels
    for metrics in old["metrics"].values():
        metrics["per_class"] = dict(zip(labels, metrics["per_class"].values(), strict=True))
    record = migrated(old)
    assert all(list(metrics["per_class"]) == labels for metrics in record["metrics"].values())


def test_the_cleaning_of_the_original_study():
    old = written("distill")
    old["cleaning"] = old["config"]["model"]["cleaning"] = "seed"
    record = migrated(old)
    assert record["cleaning"] == record["config"]["model"]["cleaning"] == "original_study"


def test_how_unlabeled_files_are_read_has_a_mapping():
    stage = {"alpha": 0.5, "unlabeled_column": "tweet", "unlabeled_encoding": "latin-1"}
    record = migrated({"schema_version": 2, "config": {"stage": stage, "seed": 1}})
    unlabeled = {"text_column": "tweet", "encoding": "latin-1"}
    assert record["config"] == {"stage": {"alpha": 0.5, "unlabeled": unlabeled}, "seed": 1}
    old = written("distill")["config"]["stage"]
    assert migrated(written("distill"))["config"]["stage"]["unlabeled"]["text_column"] == old["transfer_column"]


def test_predictions_of_the_baseline_have_their_old_name(tmp_path):
    artifact = opened("distill", tmp_path)
    with pytest.raises(Exception, match=BASELINE_PREDICTIONS_1):
        artifact.predictions("test", "label_only_baseline.parquet")


@pytest.mark.parametrize("content", [None, [], {}, {"schema_version": 2, "cost": {"beside": 1}}, {"schema_version": 1}])
def test_other_content_is_left_to_the_check(content):
    assert migrated(content) in (content, {"schema_version": 2})
