"""What the fields of a record may hold that are no single value, checked as it is opened.

A record may come from a stranger, or be damaged. What code reads of it is declared here, and refused where it is
missing or of another type; keys that nothing reads may hold anything.
"""

import math
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    create_model,
)

from chirplet.config.schema import METRICS, Count, Index, Positive
from chirplet.task.base import Task, open_task

COSTS = (
    "mb",
    "mb_compressed",
    "latency_ms",
    "latency_ms_p95",
    "texts_per_s",
    "params_total",
    "params_nonzero",
    "params_packed",
)
"""Costs as one number each: million bytes, milliseconds at batch 1 (the median where no percentile is named)."""


_HALF = re.compile("[\ud800-\udfff]")


def unfit(content: Any, place: str = "") -> str | None:
    """The first value, with its key, that JSON can spell and no file of ours can hold; None where there is none.

    That is a number beyond 64 bits, and half a character, which no UTF-8 has.
    """
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        # A key that cannot be shown stands in no place.
        parts = (unfit(key, place) or unfit(item, f"{place}.{key}") for key, item in items)
        return next((fault for fault in parts if fault is not None), None)
    if isinstance(content, str):
        fits = _HALF.search(content) is None
    elif isinstance(content, float):
        fits = math.isfinite(content)  # 1e999 is infinite
    else:
        fits = content is None or abs(content) < 2**63
    return None if fits else f"{place.lstrip('.') or 'record'}: got {ascii(content)[:40]}, which cannot be kept"


class _Shape(BaseModel):
    """Part of a record. A field with a default may be missing."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False, protected_namespaces=())


class _Class(_Shape):
    f1: float
    precision: float
    recall: float
    support: Index


class _Split(_Shape):
    n: Count
    per_class: dict[str, _Class]


class _Percentiles(_Shape):
    p50: Positive
    p95: Positive


class _ComparedWith(_Shape):
    times_texts_per_s: Positive


class _Cost(_Shape):
    bytes_on_disk: Positive = 1.0
    bytes_compressed: Positive = 1.0
    threads: Count = 1
    runtime: str = ""
    compared_with: _ComparedWith = _ComparedWith(times_texts_per_s=1.0)


class _Cpu(_Shape):
    name: str
    flags: list[str] = []


class _Config(_Shape):
    data: dict[str, Any] = {}
    stage: dict[str, Any] = {}


class _Settings(_Shape):
    pruner: dict[str, Any] = {}


class _Teacher(_Shape):
    stage: str = ""


class _Texts(_Shape):
    unlabeled_files: dict[str, str] = {}


class _Difference(_Shape):
    value: float
    low: float
    high: float
    mcnemar_p: float


class _Baseline(_Shape):
    accuracy: float
    difference: _Difference


class _Baselines(_Shape):
    train: _Baseline | None = None
    val: _Baseline | None = None
    test: _Baseline | None = None


class _Pruning(_Shape):
    reached: float | None = None


class _Training(_Shape):
    final: bool = False
    runtime: str = ""
    threads: Count | None = None
    teachers: dict[str, _Teacher] = {}
    texts: int | _Texts = 0
    label_only_baseline: _Baselines = _Baselines()
    pruning: _Pruning = _Pruning()


_NUMBERS: dict[str, Any] = dict.fromkeys(METRICS, float)
_MEASURED = create_model("_MEASURED", __base__=_Split, **_NUMBERS)
_COUNTED_NUMBERS: dict[str, Any] = dict.fromkeys(COSTS, (Positive, 1.0)) | {"latency_ms": (_Percentiles, None)}
_COUNTED = create_model("_COUNTED", __base__=_Cost, **_COUNTED_NUMBERS)


def _fits(shape: type[BaseModel], value: Any, prefix: str = "") -> None:
    """Raises ValueError, which names the key below `prefix` and what it holds."""
    try:
        shape.model_validate(value)
    except ValidationError as error:
        fault = min(error.errors(), key=lambda one: one["type"] == "missing")  # what is wrong before what is missing
        where = ".".join([*([prefix] if prefix else []), *map(str, fault["loc"])])
        if fault["type"] == "missing":
            raise ValueError(f"{where}: is missing") from None
        got, should = repr(fault["input"]), fault["msg"].replace("Input should", "should")
        raise ValueError(f"{where}: got {got if len(got) <= 80 else got[:77] + '...'}, {should}") from None


def _shaped(shape: type[BaseModel]) -> AfterValidator:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        _fits(shape, value)
        return value

    return AfterValidator(check)


def _differ(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels) or len(labels) < 2:
        raise ValueError("should be two labels or more, all different")
    return labels


def _measured(metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for split, values in metrics.items():
        _fits(_MEASURED, values, split)
    return metrics


def _opened(task: Any) -> Any:
    return open_task(task) if isinstance(task, dict) else task


RecordedTask = Annotated[Task, BeforeValidator(_opened), PlainSerializer(Task.recorded)]
"""In the file, its name and settings."""
Labels = Annotated[list[str], AfterValidator(_differ)]
"""Names of the classes, in the order of the logits."""
Metrics = Annotated[dict[str, dict[str, Any]], AfterValidator(_measured)]
"""By split, as `Task.evaluate` gives them: every one of `METRICS`, and each label's own."""
Cost = Annotated[dict[str, Any], _shaped(_COUNTED)]
"""As `chirplet.evaluation.cost.measure` gives it; empty where nothing was measured."""
Cpu = Annotated[dict[str, Any], _shaped(_Cpu)]
"""`name` and `flags` of the CPU that the artifact was made on."""
Config = Annotated[dict[str, Any], _shaped(_Config)]
"""The resolved configuration."""
StageSettings = Annotated[dict[str, Any], _shaped(_Settings)]
"""The stage's own keys."""
Training = Annotated[dict[str, Any], _shaped(_Training)]
"""What the stage reports of its work."""
