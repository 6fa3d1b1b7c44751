"""Open the artifacts of a comparison, grouped by the texts that they were evaluated on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.artifact.find import names_of
from chirplet.artifact.predictions import Predictions
from chirplet.system.error import ArtifactError


@dataclass(frozen=True)
class Candidate:
    """An artifact with its predictions on the compared split."""

    name: str
    artifact: Artifact
    predictions: Predictions

    @property
    def record(self) -> Record:
        """The artifact's record."""
        return self.artifact.record

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which texts were labeled correctly, shape (n,)."""
        return self.record.task.right(self.predictions.logits, self.predictions.label)


@dataclass(frozen=True)
class Group:
    """The artifacts of one data set, which were all evaluated on the same texts of `split`; `data` is its name."""

    data: str
    split: str
    candidates: list[Candidate]


def open_candidates(folders: Sequence[Path], split: str | None) -> list[Group]:
    """Open the artifacts with their predictions on `split`, a group for each data set; None takes test if all have it.

    Copies of an artifact count once; artifacts with different settings are different, even if their files are equal.

    Raises:
        ArtifactError: of the same data set they differ in texts, or not all were evaluated on the same split.
    """
    opened = [Artifact.open(folder) for folder in folders]
    unique: dict[tuple[str, str], Artifact] = {}
    for artifact in opened:
        settings = json.dumps(artifact.record.config, sort_keys=True)
        unique.setdefault((artifact.record.id, settings), artifact)
    artifacts = list(unique.values())
    groups: dict[tuple[object, ...], dict[str, Artifact]] = {}
    for name, artifact in zip(names_of(artifacts), artifacts, strict=True):
        record = artifact.record
        groups.setdefault((record.data.fingerprint, *record.labels, repr(record.task)), {})[name] = artifact
    data = data_names([next(iter(group.values())).record for group in groups.values()])
    return [_group(name, group, split) for name, group in zip(data, groups.values(), strict=True)]


def _group(data: str, artifacts: Mapping[str, Artifact], split: str | None) -> Group:
    chosen = _evaluated_split(artifacts, split)
    for artifact in artifacts.values():
        known = artifact.record.metrics[chosen]["per_class"]
        lacking = next((label for label in artifact.record.labels if label not in known), None)
        if lacking is not None:
            raise ArtifactError(
                f"{artifact.folder / RECORD} is not a valid record: metrics: {chosen}.per_class lacks {lacking!r}"
            )
    candidates = [Candidate(name, artifact, artifact.predictions(chosen)) for name, artifact in artifacts.items()]
    first = candidates[0]
    for other in candidates[1:]:
        same = other.predictions.row_id == first.predictions.row_id
        if not same or not np.array_equal(other.predictions.label, first.predictions.label):
            raise ArtifactError(
                f"artifacts: {first.name!r} and {other.name!r} were evaluated on different {chosen} texts or labels "
                f"({len(first.predictions.label):,} and {len(other.predictions.label):,} texts)"
            )
    return Group(data, chosen, candidates)


def data_names(records: Sequence[Record]) -> list[str]:
    """Names of the data sets of these records: the source, with the settings in which its data sets differ.

    If no setting differs, the fingerprint follows the source.
    """
    names = []
    for record in records:
        settings = record.config.get("data", {})
        others = [one.config.get("data", {}) for one in records if one.data.source == record.data.source]
        differ = [name for name in settings if any(other.get(name) != settings[name] for other in others)]
        names.append(" ".join([record.data.source, *(f"data.{name}={settings[name]}" for name in differ)]))
    return [
        name if names.count(name) == 1 else f"{name} {record.data.fingerprint[:12]}"
        for name, record in zip(names, records, strict=True)
    ]


def _evaluated_split(artifacts: Mapping[str, Artifact], wanted: str | None) -> str:
    for split in ("test", "val") if wanted is None else (wanted,):
        if all(split in artifact.record.metrics for artifact in artifacts.values()):
            return split
    missing = [name for name, artifact in artifacts.items() if (wanted or "test") not in artifact.record.metrics]
    others = ", but others were" if len(missing) < len(artifacts) else ", nor was any other"
    raise ArtifactError(
        f"artifacts: {missing[0]!r} was not evaluated on {wanted or 'test'}{others}; "
        "all should be evaluated on the same split"
    )
