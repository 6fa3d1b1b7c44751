"""Metrics against numbers worked out by hand."""

import math

import numpy as np
import pytest

from chirplet.metric.classification import evaluate

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


@pytest.mark.parametrize("classes", [2, 5])
def test_average_precision_and_correlation_agree_with_scikit_learn(classes):
    from sklearn.metrics import average_precision_score, matthews_corrcoef

    random = np.random.default_rng(1)
    logits, truth = random.normal(size=(300, classes)).astype(np.float32), random.integers(0, classes, size=300)
    logits[np.arange(300), truth] += 0.5
    metrics = evaluate(logits, truth, "abcde"[:classes])
    odds = np.exp(logits)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    # Of two classes, the last one is the positive class.
    expected = (
        average_precision_score(truth, probabilities[:, 1])
        if classes == 2
        else average_precision_score(np.eye(classes)[truth], probabilities, average="macro")
    )
    assert metrics["average_precision"] == pytest.approx(expected, abs=1e-6)
    assert metrics["mcc"] == pytest.approx(matthews_corrcoef(truth, logits.argmax(axis=1)), abs=1e-6)


def test_a_rare_class_that_is_absent_or_never_predicted():
    never = evaluate(np.array([[1.0, 0.0]] * 4, dtype=np.float32), np.array([0, 0, 0, 1]), LABELS)
    assert (never["average_precision"], never["mcc"]) == (0.25, 0.0)
    absent = evaluate(LOGITS, np.zeros(5, dtype=np.int64), LABELS)
    assert (absent["average_precision"], absent["mcc"]) == (0.0, 0.0)
    # Of more than two, a class that does not occur is left out of the mean.
    third = evaluate(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]), "abc")
    assert (third["average_precision"], third["mcc"]) == (1.0, 1.0)
