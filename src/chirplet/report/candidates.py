"""Artifacts that may be compared: found by their folders, and seen to be of the same texts."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from chirplet.artifact.artifact import RECORD, Artifact, Predictions, Record, check_folder
from chirplet.system.error import ArtifactError, near


@dataclass(frozen=True)
class Candidate:
    """One artifact with its predictions on the texts that all are compared on."""

    name: str
    artifact: Artifact
    predictions: Predictions

    @property
    def record(self) -> Record:
        """The artifact's record."""
        return self.artifact.record

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which texts it labeled rightly, shape (n,)."""
        return self.record.task.right(self.predictions.logits, self.predictions.label)


def find_artifacts(patterns: Sequence[str]) -> list[Path]:
    """The folders of artifacts that paths and glob patterns (`**` for any depth) name, each once, in order.

    Raises:
        ArtifactError: a path is no artifact, or a pattern finds none.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        parts = path.parts
        wild = next((place for place, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
        if wild is None or path.is_dir():
            folders = [check_folder(path)]
        else:
            root, rest = Path(*parts[:wild]), "/".join(parts[wild:])
            matching = [path for path in root.glob(rest) if not path.name.startswith(".")]
            folders = sorted(path for path in matching if (path / RECORD).is_file())
            if not folders:
                inside = any((path / "artifact" / RECORD).is_file() for path in matching)
                why = f"; did you mean {pattern.rstrip('/') + '/artifact'!r}?" if inside else _closest(root)
                raise ArtifactError(f"artifacts: got {pattern!r}, which finds no artifact{why}")
        for folder in folders:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _closest(root: Path) -> str:
    """Why a pattern may have found nothing."""
    if root.is_dir():
        return ""
    siblings = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
    return f": no folder {str(root)!r}{near(root.name, siblings)}"


def names_of(artifacts: Sequence[Artifact]) -> list[str]:
    """The shortest end of each path that no other path has.

    Stages write to a folder called `artifact`, which says nothing and is left out. For the number of a multirun's job
    stand the overrides that no other job has, behind the number where they are not unique.
    """
    paths = [artifact.folder.absolute().parts for artifact in artifacts]
    paths = [parts[:-1] if parts[-1] == "artifact" else parts for parts in paths]
    found = []
    for parts in paths:
        length = next(
            (n for n in range(1, len(parts)) if sum(other[-n:] == parts[-n:] for other in paths) == 1), len(parts)
        )
        found.append(parts[-length:])
    jobs: dict[str, set[str]] = {}
    for parts, artifact in zip(found, artifacts, strict=True):
        own = _overrides(artifact, len(parts))
        jobs[parts[0]] = jobs.get(parts[0], own) & own
    names = ["/".join([_job(parts[0], jobs), *parts[1:]]) for parts in found]
    return [name if names.count(name) == 1 else f"{parts[0]}: {name}" for name, parts in zip(names, found, strict=True)]


def _overrides(artifact: Artifact, depth: int) -> set[str]:
    """What a job of a multirun was given, as Hydra wrote it down `depth` folders up, else as in the record."""
    folder = artifact.folder.absolute()
    folder = folder.parent if folder.name == "artifact" else folder
    written = folder.parents[depth - 2] if depth > 1 else folder
    try:
        given = OmegaConf.to_container(OmegaConf.load(written / ".hydra" / "overrides.yaml"))
    except Exception:  # it is not there, or damaged in one of many ways
        given = None
    if isinstance(given, list) and all(isinstance(override, str) for override in given):
        return {str(override) for override in given}
    return set(artifact.record.overrides or ())


def _job(name: str, jobs: Mapping[str, set[str]]) -> str:
    """The overrides of a job of a multirun that others do not have, with the last parts of their keys."""
    others = [overrides for other, overrides in jobs.items() if other.isdecimal()]
    if not name.isdecimal() or len(others) < 2:
        return name
    parted = [override.partition("=") for override in sorted(jobs[name] - others[0].intersection(*others))]
    return ", ".join(f"{key.rpartition('.')[2]}={_PATH.sub(_end, value)}" for key, _, value in parted) or name


_PATH = re.compile(r"[^,\[\]{}'\"=]*/[^,\[\]{}'\"=]*")


def _end(path: re.Match[str]) -> str:
    """The last part of a path that says something."""
    parts = Path(path[0]).parts
    return parts[-2] if len(parts) > 1 and parts[-1] == "artifact" else parts[-1]


def open_candidates(folders: Sequence[Path], split: str | None) -> tuple[list[Candidate], str]:
    """The artifacts, each once, with their predictions on `split`; null takes test where all have it, else val.

    A copy is the same artifact; one of other settings is another, though its files may be the same to the byte.

    Raises:
        ArtifactError: they are not of the same texts and labels, or were not all judged on one split.
    """
    opened = [Artifact.open(folder) for folder in folders]
    different: dict[tuple[str, str], Artifact] = {}
    for artifact in opened:
        settings = json.dumps(artifact.record.config, sort_keys=True)
        different.setdefault((artifact.record.id, settings), artifact)
    artifacts = list(different.values())
    names = names_of(artifacts)
    _check_same(names, [artifact.record for artifact in artifacts])
    chosen = _evaluated_split(names, [artifact.record for artifact in artifacts], split)
    for artifact in artifacts:
        known = artifact.record.metrics[chosen]["per_class"]
        lacking = next((label for label in artifact.record.labels if label not in known), None)
        if lacking is not None:
            raise ArtifactError(
                f"{artifact.folder / RECORD} is not a valid record: metrics: {chosen}.per_class lacks {lacking!r}"
            )
    candidates = [
        Candidate(name, artifact, artifact.predictions(chosen)) for name, artifact in zip(names, artifacts, strict=True)
    ]
    first = candidates[0]
    for other in candidates[1:]:
        same = other.predictions.row_id == first.predictions.row_id
        if not same or not np.array_equal(other.predictions.label, first.predictions.label):
            raise ArtifactError(
                f"artifacts: {first.name!r} and {other.name!r} were evaluated on different {chosen} texts or labels of "
                f"theirs ({len(first.predictions.label):,} and {len(other.predictions.label):,} texts)"
            )
    return candidates, chosen


def _check_same(names: Sequence[str], records: Sequence[Record]) -> None:
    first = records[0]
    for name, record in zip(names[1:], records[1:], strict=True):
        if record.labels != first.labels:
            raise ArtifactError(
                f"artifacts: {names[0]!r} has the labels {', '.join(first.labels)}, {name!r} has "
                f"{', '.join(record.labels)}; only artifacts of the same labels are compared"
            )
        if record.task != first.task:
            raise ArtifactError(
                f"artifacts: {names[0]!r} is for task={first.task.name}, {name!r} for task={record.task.name}; "
                "only artifacts of the same task and its settings are compared"
            )
        if record.data.fingerprint != first.data.fingerprint:
            raise ArtifactError(
                f"artifacts: {names[0]!r} was made from {_data(first, record)}, {name!r} from {_data(record, first)}; "
                "only artifacts of the same texts and splits are compared"
            )


def _data(record: Record, other: Record) -> str:
    """The data of `record`, with the settings in which `other` differs."""
    settings, others = (one.config.get("data", {}) for one in (record, other))
    differ = [name for name in settings if name != "_target_" and settings[name] != others.get(name)]
    described = [f"data={record.data.source}", *(f"data.{name}={settings[name]}" for name in differ)]
    if record.data.source == other.data.source and not differ:
        described.append(f"with the fingerprint {record.data.fingerprint[:12]}")
    return " ".join(described)


def _evaluated_split(names: Sequence[str], records: Sequence[Record], wanted: str | None) -> str:
    for split in ("test", "val") if wanted is None else (wanted,):
        if all(split in record.metrics for record in records):
            return split
    missing = [name for name, record in zip(names, records, strict=True) if (wanted or "test") not in record.metrics]
    others = ", and others were" if len(missing) < len(records) else ", nor was any other"
    raise ArtifactError(
        f"artifacts: {missing[0]!r} was not evaluated on {wanted or 'test'}{others}; "
        "should all be evaluated on one split"
    )
