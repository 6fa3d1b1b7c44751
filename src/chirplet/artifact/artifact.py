"""The folder that every stage writes and reads.

It contains `config.json`, `model.safetensors` and the tokenizer's files, so that
`AutoModelForSequenceClassification.from_pretrained` opens it; `artifact.json`, the record of its origin and metrics;
`predictions.parquet`, the logits of every evaluated text; and `README.md`, the model card.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, ValidationError
from safetensors import SafetensorError

from chirplet.artifact.foreign import how_to_import
from chirplet.artifact.migration import BASELINE_PREDICTIONS_1, migrated
from chirplet.artifact.predictions import BASELINE_PREDICTIONS, PREDICTIONS, Predictions, read_predictions
from chirplet.artifact.record import (
    COSTS,
    Config,
    Cost,
    Cpu,
    Labels,
    Metrics,
    RecordedTask,
    StageSettings,
    Training,
    unfit,
)
from chirplet.config.schema import Settings
from chirplet.data.base import SPLITS
from chirplet.data.preparation.normalizers import Cleaning
from chirplet.metric.names import scalars
from chirplet.system.atomic_io import temporary_folder, write_text_atomically
from chirplet.system.error import ArtifactError, near
from chirplet.system.hashing import folder_hash
from chirplet.system.links import link_outside
from chirplet.task.single_label import SingleLabel

SCHEMA_VERSION: Literal[2] = 2
RECORD = "artifact.json"
CARD = "README.md"
PROBE = "probe.json"
"""The model's logits for a few texts (`chirplet.runtime.probe`)."""


class Ancestor(Settings):
    """One step of an artifact's lineage."""

    name: str
    revision: str | None
    weights_sha256: str | None
    pretrained: bool
    artifact: str | None
    stage: str | None


class DataRecord(Settings):
    """The data from which an artifact was made."""

    source: str
    fingerprint: str
    sizes: dict[str, int]
    split_seed: int
    report: dict[str, Any]


class Record(Settings):
    """The content of `artifact.json`. It contains no absolute paths, user names or keys.

    `overrides` are those of the command line, None in older records; older records without `task` are single-label.
    `tokenizer_cleans` is whether the tokenizer's files have the cleaning, so that everything that opens them cleans as
    in training; in older artifacts chirplet alone does.
    `metrics[split]` is the result of `Task.evaluate`, `cost` that of `chirplet.evaluation.cost.measure`. `lineage`
    starts with the base model and ends with the direct parent.
    """

    schema_version: Literal[2]
    id: str
    stage: str
    method: str
    settings: StageSettings
    parent: str | None
    lineage: Annotated[list[Ancestor], Field(min_length=1)]
    pretrained: bool
    data: DataRecord
    labels: Labels
    task: RecordedTask = SingleLabel()
    cleaning: Cleaning
    tokenizer_cleans: bool = False
    max_length: Annotated[int, Field(ge=1, le=8192)]
    config: Config
    overrides: list[str] | None = None
    versions: dict[str, str]
    cpu: Cpu
    seed: int
    training: Training
    metrics: Metrics
    predictions: Literal["predictions.parquet"]
    cost: Cost


@dataclass(frozen=True)
class Artifact:
    """An artifact on disk."""

    folder: Path
    record: Record

    @classmethod
    def open(cls, folder: Path) -> "Artifact":
        """Read and check the record of an artifact.

        Raises:
            ArtifactError: the folder does not exist, has no record, or its record is not valid.
        """
        path = check_folder(folder) / RECORD
        record: Record | None = None
        try:
            content = migrated(json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number))
            fault = unfit(content)
            if fault is None:
                record = Record.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "record"
            fault = f"{where}: {first['msg'].removeprefix('Value error, ')}"
        except (ValueError, RecursionError) as error:  # after ValidationError, which is a ValueError
            raise ArtifactError(f"{path} is not JSON ({error})") from None
        if record is None:
            raise ArtifactError(f"{path} is not a valid record: {fault}")
        return cls(folder, record)

    @property
    def repairs(self) -> bool:
        """Whether texts are repaired as they are read from files, as those that the artifact was trained on were.

        Raises:
            ArtifactError: the record does not say so.
        """
        data = self.record.config.get("data")
        repair = data.get("repair") if isinstance(data, dict) else None
        if not isinstance(repair, bool):
            raise ArtifactError(
                f"{self.folder / RECORD} is not a valid record: config.data.repair: should be a boolean"
            )
        return repair

    def metric(self, name: str) -> float | None:
        """One metric by its name `SPLIT/METRIC`, or None if the split was not evaluated."""
        split, _, metric = name.partition("/")
        return scalars(self.record.metrics[split]).get(metric) if split in self.record.metrics else None

    def scalars(self) -> dict[str, float]:
        """Every metric that is a single number, as `SPLIT/METRIC`, for loggers."""
        return {
            f"{split}/{name}": value
            for split, metrics in self.record.metrics.items()
            for name, value in scalars(metrics).items()
        }

    def costs(self) -> dict[str, float]:
        """Every cost in `COSTS` that was measured, as `cost/NAME`."""
        cost = self.record.cost
        flat = {name: cost[name] for name in COSTS if isinstance(cost.get(name), int | float)}
        for name, size in (("mb", "bytes_on_disk"), ("mb_compressed", "bytes_compressed")):
            if size in cost:
                flat[name] = cost[size] / 1e6
        if "latency_ms" in cost:
            flat |= {"latency_ms": cost["latency_ms"]["p50"], "latency_ms_p95": cost["latency_ms"]["p95"]}
        if (gpu := cost.get("gpu")) is not None:
            flat |= {"gpu_latency_ms": gpu["latency_ms"]["p50"], "gpu_texts_per_s": gpu["texts_per_s"]}
        return {f"cost/{name}": float(value) for name, value in flat.items()}

    def predictions(self, split: str, file: str = PREDICTIONS) -> Predictions:
        """The stored predictions of one split; `file` may be `BASELINE_PREDICTIONS`.

        Raises:
            ArtifactError: the split was not evaluated, or there is no such file.
        """
        if file == BASELINE_PREDICTIONS and not (self.folder / file).exists():
            file = BASELINE_PREDICTIONS_1
        if not (self.folder / file).is_file():
            raise ArtifactError(f"{self.folder} has no {file}")
        return read_predictions(self.folder / file, split, self.record.task, len(self.record.labels))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def check_folder(folder: Path) -> Path:
    """Return `folder` if it exists, has a record, and has no links to other folders.

    Raises:
        ArtifactError: otherwise; the message suggests a folder of similar name, or the artifact inside.
    """
    if not folder.is_dir():
        siblings = [path.name for path in folder.parent.glob("*/")]
        raise ArtifactError(f"no artifact at {str(folder)!r}: no such folder{near(folder.name, siblings)}")
    if not (folder / RECORD).is_file():
        inside = folder / "artifact"
        hint = f"; did you mean {str(inside)!r}?" if (inside / RECORD).is_file() else how_to_import(folder)
        raise ArtifactError(f"no artifact at {str(folder)!r}: it has no {RECORD}{hint}")
    outside = link_outside(folder, hub_cache=True)
    if outside is not None:
        raise ArtifactError(
            f"no artifact at {str(folder)!r}: {outside} is a link to something outside that folder; should be a file"
        )
    return folder


def check_free(folder: Path) -> None:
    """Check that an artifact can be written to `folder`.

    Raises:
        ArtifactError: the folder exists already.
    """
    if folder.exists():
        raise ArtifactError(f"{str(folder)!r} exists already; artifacts are not overwritten")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `folder` when the block ends without an error, and removed otherwise.

    Files and folders are flushed to disk before the rename, so a crash leaves the old state or the new one.

    Raises:
        ArtifactError: the disk is full, the parent folder is not writable, or the folder exists already.
    """
    check_free(folder)
    try:
        with temporary_folder(folder) as temporary:
            yield temporary
            for path in [*temporary.rglob("*"), temporary]:
                _flush(path)
            temporary.rename(folder)
            _flush(folder.parent)
    except (OSError, SafetensorError) as error:
        # safetensors raises its own class if the disk is full.
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"could not write {str(folder)!r}: {reason}; nothing was left there") from error


def write_record(folder: Path, record: Record) -> None:
    """Write `artifact.json`."""
    text = json.dumps(record.model_dump(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomically(text + "\n", folder / RECORD)


def content_id(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files of an artifact, except its record and card."""
    excluded = (folder / RECORD, folder / CARD)
    return folder_hash(sorted(path for path in folder.rglob("*") if path.is_file() and path not in excluded), folder)


def split_order(metrics: dict[str, Any]) -> list[str]:
    """The evaluated splits in the order train, val, test."""
    return [split for split in SPLITS if split in metrics]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
