"""Names of metrics: those of a split as a whole, and those of each label (`f1_LABEL`)."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

from chirplet.system.error import ConfigError, near

LABEL_SCORES = ("f1", "precision", "recall")
"""Scores that are also computed for each label."""

METRICS = (
    "accuracy",
    "loss",
    "calibration_error",
    *(f"{score}_{average}" for score in LABEL_SCORES for average in ("macro", "weighted")),
    "average_precision",
    "mcc",
)
"""What `chirplet.metric.classification` gives as one number a split."""

_OF_LABEL = re.compile(rf"({'|'.join(LABEL_SCORES)})_.+", re.DOTALL)


def label_names(labels: Sequence[str]) -> list[str]:
    """Labels as parts of names: in snake case, `Extremely Negative` is `extremely_negative`.

    All keep their spelling if two would be the same in snake case, or one would be empty.
    """
    snake = [re.sub(r"\W+", "_", label.casefold()).strip("_") for label in labels]
    return snake if len(set(snake)) == len(labels) and all(snake) else list(labels)


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a split that are single numbers: `METRICS`, and `SCORE_LABEL` of each label.

    A label called `macro` or `weighted` has none: these names are those of the means.
    """
    numbers = {name: float(metrics[name]) for name in METRICS if name in metrics}
    per_class: Mapping[str, Any] = metrics["per_class"]
    for name, scores in zip(label_names(list(per_class)), per_class.values(), strict=True):
        for score in LABEL_SCORES:
            numbers.setdefault(f"{score}_{name}", float(scores[score]))
    return numbers


def of_labels(labels: Sequence[str]) -> list[str]:
    """The names of the metrics of these labels."""
    return [f"{score}_{name}" for score in LABEL_SCORES for name in label_names(labels)]


def known_metric(name: str) -> bool:
    """Whether there is, or may be for some label, a metric of this name."""
    return name in METRICS or _OF_LABEL.fullmatch(name) is not None


def listed(split: str) -> str:
    """Every metric of a split, for an error: `val/accuracy, ...`."""
    return ", ".join([f"{split}/{name}" for name in METRICS] + [f"{split}/{score}_LABEL" for score in LABEL_SCORES])


def monitor_mode(monitor: str) -> str:
    """`min` for losses and errors, `max` for scores, as Lightning's callbacks call it."""
    return "min" if monitor.partition("/")[2] in {"loss", "calibration_error"} else "max"


def check_labels(monitors: Mapping[str, str], labels: Sequence[str]) -> None:
    """Check that monitors of a label name one of `labels`; `monitors` is by the key that sets it.

    Raises:
        ConfigError: one does not.
    """
    known = [f"val/{name}" for name in (*METRICS, *of_labels(labels))]
    # Of keys that refer to each other, the first is reported.
    unknown: dict[str, str] = {}
    for key, monitor in monitors.items():
        if monitor not in known:
            unknown.setdefault(monitor, key)
    if unknown:
        raise ConfigError(
            "\n".join(
                f"{key}: got {monitor!r}, should be one of {', '.join(known)}{near(monitor, known)}"
                for monitor, key in unknown.items()
            )
        )


def _known_monitor(monitor: str) -> str:
    split, _, name = monitor.partition("/")
    if split != "val" or not known_metric(name):
        known = [f"val/{metric}" for metric in METRICS]
        raise ValueError(f"got {monitor!r}, should be one of {listed('val')}{near(monitor, known)}")
    return monitor


Monitor = Annotated[str, AfterValidator(_known_monitor)]
"""A validation metric that something is chosen by: `val/METRIC`, or `val/SCORE_LABEL` for one label."""
