"""Validation of the nested fields of a record.

A record may be damaged or untrusted. All values that code reads are declared here, and a missing value or wrong type
raises an error when the record is opened. Other keys are not checked.
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

from chirplet.config.schema import Count, Index, Positive
from chirplet.metric.names import METRICS
from chirplet.task.base import Task, open_task

COSTS = (
    "mb",
    "mb_compressed",
    "latency_ms",
    "latency_ms_p95",
    "texts_per_s",
    "gpu_latency_ms",
    "gpu_texts_per_s",
    "params_total",
    "params_nonzero",
    "params_packed",
)
"""Costs that are single numbers: million bytes, milliseconds at batch 1 (median unless p95). Without `gpu_`, speeds are
of the CPU, or in older records of their `device`."""

_HALF = re.compile("[\ud800-\udfff]")


def unfit(content: Any, path: str = "") -> str | None:
    """The first value, with its key, that JSON allows but a record cannot contain; None if there is none.

    These are numbers beyond 64 bits, and lone surrogates, which UTF-8 cannot encode.
    """
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        # Keys are checked before they become part of a path.
        faults = (unfit(key, path) or unfit(item, f"{path}.{key}") for key, item in items)
        return next((fault for fault in faults if fault is not None), None)
    if isinstance(content, str):
        fits = _HALF.search(content) is None
    elif isinstance(content, float):
        fits = math.isfinite(content)  # 1e999 is infinite
    else:
        fits = content is None or abs(content) < 2**63
    return None if fits else f"{path.lstrip('.') or 'record'}: got {ascii(content)[:40]}, which a record cannot contain"


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


class _OnGpu(_Shape):
    latency_ms: _Percentiles
    texts_per_s: Positive


class _Cost(_Shape):
    bytes_on_disk: Positive = 1.0
    bytes_compressed: Positive = 1.0
    threads: Count = 1
    runtime: str = ""
    gpu: _OnGpu | None = None
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


ADDED = {"average_precision", "mcc"}
"""Metrics that records of earlier versions lack."""

_NUMBERS: dict[str, Any] = {name: (float, 0.0 if name in ADDED else ...) for name in METRICS}
_MEASURED = create_model("_MEASURED", __base__=_Split, **_NUMBERS)
_COUNTED_NUMBERS: dict[str, Any] = dict.fromkeys(COSTS, (Positive, 1.0)) | {"latency_ms": (_Percentiles, None)}
_COUNTED = create_model("_COUNTED", __base__=_Cost, **_COUNTED_NUMBERS)


def _fits(shape: type[BaseModel], value: Any, prefix: str = "") -> None:
    """Raise a ValueError that names the key, below `prefix`, and its value, if `value` does not have this shape."""
    try:
        shape.model_validate(value)
    except ValidationError as error:
        fault = min(error.errors(), key=lambda one: one["type"] == "missing")  # wrong values first, then missing ones
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
        raise ValueError("should be two or more different labels")
    return labels


def _measured(metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for split, values in metrics.items():
        _fits(_MEASURED, values, split)
    return metrics


def _opened(task: Any) -> Any:
    return open_task(task) if isinstance(task, dict) else task


RecordedTask = Annotated[Task, BeforeValidator(_opened), PlainSerializer(Task.recorded)]
"""A task, stored as its name and settings."""
Labels = Annotated[list[str], AfterValidator(_differ)]
"""Names of the classes, in the order of the logits."""
Metrics = Annotated[dict[str, dict[str, Any]], AfterValidator(_measured)]
"""Results of `Task.evaluate` by split: all `METRICS` but for `ADDED`, and those of each label."""
Cost = Annotated[dict[str, Any], _shaped(_COUNTED)]
"""The result of `chirplet.evaluation.cost.measure`; empty if nothing was measured."""
Cpu = Annotated[dict[str, Any], _shaped(_Cpu)]
"""`name` and `flags` of the CPU on which the artifact was made."""
Config = Annotated[dict[str, Any], _shaped(_Config)]
"""The resolved configuration."""
StageSettings = Annotated[dict[str, Any], _shaped(_Settings)]
"""The settings of the stage."""
Training = Annotated[dict[str, Any], _shaped(_Training)]
"""What the stage recorded about its work."""
