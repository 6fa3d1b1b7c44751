"""What the fields of a record may hold that are not of one type: labels, metrics and costs, checked as it is opened."""

from typing import Annotated, Any

from pydantic import AfterValidator

from chirplet.config import METRICS

COSTS = (
    "mb",
    "mb_compressed",
    "latency_ms",
    "latency_ms_p95",
    "tweets_per_s",
    "params_total",
    "params_nonzero",
    "params_packed",
)
"""Costs as one number each: million bytes, milliseconds at batch 1 (the median where no percentile is named)."""
_PERCENTILES = ("p50", "p95")


def _differ(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels) or len(labels) < 2:
        raise ValueError("should be two labels or more, all different")
    return labels


def _measured(metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for split, values in metrics.items():
        wrong = next((name for name in METRICS if not _is_number(values.get(name))), None)
        if wrong is not None:
            raise ValueError(f"{split}.{wrong}: got {values.get(wrong)!r}, should be a number")
    return metrics


def _counted(cost: dict[str, Any]) -> dict[str, Any]:
    for name in (*COSTS, "bytes_on_disk", "bytes_compressed"):
        value = cost.get(name)
        if name not in cost:
            continue
        if name == "latency_ms":
            if not (isinstance(value, dict) and all(_is_number(value.get(part)) for part in _PERCENTILES)):
                raise ValueError(f"{name}: got {value!r}, should hold {' and '.join(_PERCENTILES)}")
        elif not _is_number(value):
            raise ValueError(f"{name}: got {value!r}, should be a number")
    return cost


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Labels = Annotated[list[str], AfterValidator(_differ)]
"""Names of the classes, in the order of the logits."""
Metrics = Annotated[dict[str, dict[str, Any]], AfterValidator(_measured)]
"""By split; all of `METRICS` are numbers."""
Cost = Annotated[dict[str, Any], AfterValidator(_counted)]
"""As `chirplet.metric.cost.measure` gives it."""
