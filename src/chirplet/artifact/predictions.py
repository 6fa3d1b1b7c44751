"""`predictions.parquet`: the logits of every evaluated text."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.data.base import Examples
from chirplet.system.error import ArtifactError
from chirplet.task.base import Targets, Task

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS: Literal["predictions.parquet"] = "predictions.parquet"
BASELINE_PREDICTIONS = "label_only_baseline.parquet"
"""Predictions of a distilled student's label-only baseline, in the format of the student's."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of one split: n row ids, labels as targets of the task, logits (n, classes) float32."""

    row_id: list[str]
    label: Targets
    logits: NDArray[np.float32]


def _schema(task: Task) -> "pa.Schema":
    import pyarrow as pa

    targets = task.no_targets(1)
    target = pa.from_numpy_dtype(targets.dtype)
    label = target if targets.ndim == 1 else pa.list_(target)
    columns = {"split": pa.string(), "row_id": pa.string(), "label": label, "logits": pa.list_(pa.float32())}
    return pa.schema(list(columns.items()))


def write_predictions(
    folder: Path, splits: dict[str, tuple[Examples, NDArray[np.float32]]], task: Task, file: str = PREDICTIONS
) -> None:
    """Write `predictions.parquet` or another `file`: columns split, row_id, label (target), logits (float32 list)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(task)
    tables = [schema.empty_table()]
    for name, (examples, logits) in splits.items():
        targets = task.targets(examples)
        column = targets if targets.ndim == 1 else list(targets)
        tables.append(pa.table([[name] * len(examples), examples.row_id, column, list(logits)], schema=schema))
    table = pa.concat_tables(tables)
    pq.write_table(table, folder / file, compression="zstd")


def read_predictions(path: Path, split: str, task: Task, classes: int) -> Predictions:
    """Read the predictions of one split that `write_predictions` wrote.

    Raises:
        ArtifactError: the file has none, is damaged, has other columns, or does not match `classes`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema, none = _schema(task), task.no_targets(classes)
        table = pq.read_table(path, columns=schema.names, filters=[("split", "=", split)]).cast(schema)
        logits = np.array(table.column("logits").to_pylist(), dtype=np.float32)
        row_ids, column = table.column("row_id").to_pylist(), table.column("label")
        targets = column.to_numpy() if none.ndim == 1 else np.array(column.to_pylist(), none.dtype)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: the predictions are damaged ({str(error).partition(chr(10))[0]})") from None
    if not row_ids:
        raise ArtifactError(f"{path.parent} has no predictions for the split {split!r}")
    if logits.shape != (len(row_ids), classes) or not np.isfinite(logits).all():
        raise ArtifactError(
            f"{path}: the logits of {split} should be {classes} finite numbers per text, one for each label"
        )
    fault = task.fault(targets, classes)
    if fault is not None:
        raise ArtifactError(f"{path}: the labels of {split} {fault}, as the record has labels")
    return Predictions(row_ids, targets, logits)
