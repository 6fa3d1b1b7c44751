"""Classification metrics computed from logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    binary_average_precision,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_matthews_corrcoef,
    multiclass_precision,
    multiclass_recall,
)

CALIBRATION_BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017 (arXiv 1706.04599)."""

_SCORES = {"f1": multiclass_f1_score, "precision": multiclass_precision, "recall": multiclass_recall}


def evaluate(
    logits: NDArray[np.float32] | Tensor, target: NDArray[np.int64] | Tensor, labels: Sequence[str]
) -> dict[str, Any]:
    """All classification metrics of one split, as plain numbers.

    Args:
        logits: shape (n, classes).
        target: index of the true label, shape (n,).
        labels: names of the classes, in order.

    Returns:
        `accuracy`, `loss` (mean cross-entropy in nats), `calibration_error` (expected, L1), `f1_macro`,
        `f1_weighted` and so on for precision and recall, `average_precision` (see `average_precision`), `mcc` (see
        `matthews_correlation`), `per_class` (label to f1, precision, recall, support) and
        `confusion_matrix` (rows true, columns predicted). A class that is neither present nor predicted has scores of 0
        and, as in scikit-learn, is left out of macro means.

    Raises:
        ValueError: there are no texts, or shapes do not match.
    """
    scores = torch.as_tensor(logits).float()
    truth = torch.as_tensor(target)
    classes = len(labels)
    if scores.ndim != 2 or scores.shape[1] != classes or len(scores) != len(truth) or len(truth) == 0:
        raise ValueError(f"logits {tuple(scores.shape)} do not fit {len(truth)} targets of {classes} classes")
    predicted = scores.argmax(dim=1)
    result: dict[str, Any] = {
        "n": len(truth),
        "accuracy": (predicted == truth).double().mean().item(),
        "loss": cross_entropy(scores, truth).item(),
        "calibration_error": multiclass_calibration_error(
            scores.softmax(dim=1), truth, num_classes=classes, n_bins=CALIBRATION_BINS
        ).item(),
        "average_precision": average_precision(scores, truth),
        "mcc": matthews_correlation(predicted, truth, classes),
    }
    for name, score in _SCORES.items():
        for average in ("macro", "weighted"):
            result[f"{name}_{average}"] = score(predicted, truth, num_classes=classes, average=average).item()
    by_class = {name: score(predicted, truth, num_classes=classes, average="none") for name, score in _SCORES.items()}
    support = torch.bincount(truth, minlength=classes)
    result["per_class"] = {
        label: {name: values[i].item() for name, values in by_class.items()} | {"support": int(support[i])}
        for i, label in enumerate(labels)
    }
    result["confusion_matrix"] = multiclass_confusion_matrix(predicted, truth, num_classes=classes).tolist()
    return result


def matthews_correlation(predicted: Tensor, target: Tensor, classes: int) -> float:
    """Matthews' correlation coefficient, from -1 to 1; 0 if all labels or all predictions are the same.

    Both have shape (n,). Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    if min(len(predicted.unique()), len(target.unique())) == 1:
        return 0.0
    correlation: float = multiclass_matthews_corrcoef(predicted, target, num_classes=classes).item()
    return correlation


def average_precision(logits: Tensor, target: Tensor) -> float:
    """The area under the precision-recall curve, as the sum over thresholds of precision times the rise of recall.

    Of two classes it is that of the last one, the positive class; of more it is the mean over the classes that occur,
    each against the rest. 0 if the positive class does not occur.

    Args:
        logits: shape (n, classes).
        target: index of the true label, shape (n,).
    """
    probabilities = logits.softmax(dim=1)
    classes = range(1, 2) if logits.shape[1] == 2 else range(logits.shape[1])
    areas = [
        binary_average_precision(probabilities[:, index], (target == index).long()).item()
        for index in classes
        if (target == index).any()
    ]
    return sum(areas) / len(areas) if areas else 0.0
