"""Classification metrics computed from logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
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
        `f1_weighted` and so on for precision and recall, `per_class` (label to f1, precision, recall, support) and
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


def scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """The metrics that are single numbers, for loggers and monitors."""
    return {name: value for name, value in metrics.items() if isinstance(value, float)}
