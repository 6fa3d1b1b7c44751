"""Metrics against numbers worked out by hand."""

import math

import numpy as np
import pytest

from chirplet.metric.classification import evaluate, scalars

LABELS = ("bad", "good")
# Five texts: truth bad bad bad good good, predicted bad bad good good bad.
LOGITS = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [2.0, 0.0]], dtype=np.float32)
TRUTH = np.array([0, 0, 0, 1, 1])


def test_scores_of_five_tweets_by_hand():
    metrics = evaluate(LOGITS, TRUTH, LABELS)
    # bad: precision 2/3, recall 2/3, f1 2/3; good: precision 1/2, recall 1/2, f1 1/2.
    assert metrics["confusion_matrix"] == [[2, 1], [1, 1]]
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics["f1_weighted"] == pytest.approx((3 * 2 / 3 + 2 * 1 / 2) / 5)
    assert metrics["precision_macro"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics["recall_weighted"] == pytest.approx(3 / 5)
    assert metrics["per_class"]["good"] == {
        "f1": pytest.approx(0.5),
        "precision": pytest.approx(0.5),
        "recall": pytest.approx(0.5),
        "support": 2,
    }


def test_loss_and_calibration_by_hand():
    metrics = evaluate(LOGITS, TRUTH, LABELS)
    confidence = 1 / (1 + math.exp(-2))
    assert metrics["loss"] == pytest.approx(-(3 * math.log(confidence) + 2 * math.log(1 - confidence)) / 5, rel=1e-5)
    # Every text has the same confidence, so one bin holds them all.
    assert metrics["calibration_error"] == pytest.approx(confidence - 3 / 5, rel=1e-5)


def test_agrees_with_scikit_learn_on_random_predictions():
    from sklearn.metrics import f1_score, precision_score, recall_score

    random = np.random.default_rng(0)
    logits = random.normal(size=(300, 5)).astype(np.float32)
    truth = random.integers(0, 5, size=300)
    metrics = evaluate(logits, truth, "abcde")
    predicted = logits.argmax(axis=1)
    for name, score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
        for average in ("macro", "weighted"):
            assert metrics[f"{name}_{average}"] == pytest.approx(score(truth, predicted, average=average), abs=1e-6)


def test_a_class_that_never_occurs_does_not_enter_the_macro_mean():
    metrics = evaluate(np.array([[9.0, 0.0, -9.0], [0.0, 9.0, -9.0]], dtype=np.float32), np.array([0, 1]), "abc")
    assert metrics["f1_macro"] == 1.0
    assert metrics["per_class"]["c"]["support"] == 0


@pytest.mark.parametrize("truth", [np.array([], dtype=np.int64), np.array([0, 1, 0])])
def test_shapes_must_agree(truth):
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(LOGITS[: len(truth) - 1] if len(truth) else LOGITS[:0], truth, LABELS)


def test_scalars_are_what_a_logger_can_plot():
    names = set(scalars(evaluate(LOGITS, TRUTH, LABELS)))
    assert {"accuracy", "loss", "f1_macro"} < names
    assert not {"n", "per_class", "confusion_matrix"} & names
