"""What loggers are told is what the record and the predictions hold."""

import numpy as np
import pytest

from chirplet.artifact.artifact import Artifact
from chirplet.artifact.predictions import write_predictions
from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.logger.delivery.results import recorded, results_of
from chirplet.task.single_label import SingleLabel
from records import LABELS, make_record


def test_figures_are_named_as_the_record_s(tmp_path):
    baseline = {
        "training": {"steps": 4},
        "test": {"accuracy": 0.25, "difference": {"value": 0.1, "low": 0.0, "high": 0.2, "mcnemar_p": 0.5}},
    }
    record = make_record(training={"steps": 4, "label_only_baseline": baseline})
    told = recorded(Artifact(tmp_path, record))
    assert told["record/test/accuracy"] == record.metrics["test"]["accuracy"] == 0.5
    assert told["record/cost/latency_ms"] == 4.25
    assert told["record/control/test/accuracy"] == 0.25
    assert sum(name.startswith("record/control/") for name in told) == 1


def test_the_worst_mistakes_come_first(tmp_path):
    row_id = ["texts.csv:1", "texts.csv:2", "texts.csv:3", "texts.csv:4"]
    text = ["right", "a little wrong", "very wrong", "wrong"]
    val = Examples(row_id, text, np.array([0, 1, 2, 0]), [None] * 4)
    nothing = val.take(np.array([], np.int64))
    logits = np.array([[1, 0, 0], [1, 0.5, 0], [9, 0, 0], [0, 2, 0]], np.float32)
    write_predictions(tmp_path, {"val": (val, logits), "test": (val, -logits)}, SingleLabel())
    corpus = Corpus("made_up", tuple(LABELS), nothing, val, val, "f" * 64, DataReport())
    results = results_of(Artifact(tmp_path, make_record()), corpus, {"page": "<p>"})
    assert list(results.mistakes) == ["val"]
    sheet = results.mistakes["val"]
    assert [row[1] for row in sheet.rows] == ["very wrong", "wrong", "a little wrong"]
    worst = dict(zip(sheet.columns, sheet.rows[0], strict=True))
    assert (worst["row"], worst["true"], worst["predicted"]) == ("texts.csv:3", "Extremely Positive", "Negative")
    # exp(9) / (exp(9) + 2) and log(exp(9) + 2) - 0
    assert worst["probability of predicted"] == pytest.approx(0.999753, abs=1e-6)
    assert worst["loss"] == pytest.approx(9.000247, abs=1e-6)
    assert results.confusions["test"] == make_record().metrics["test"]["confusion_matrix"]
