"""Find and open the artifacts of a comparison, grouped by the texts that they were evaluated on."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from chirplet.artifact.artifact import RECORD, Artifact, Record, check_folder
from chirplet.artifact.predictions import Predictions
from chirplet.system.error import ArtifactError, near


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


def find_artifacts(patterns: Sequence[str]) -> list[Path]:
    """The artifact folders that paths and glob patterns (`**` for any depth) match, without duplicates, in order.

    Raises:
        ArtifactError: a path is not an artifact, or a pattern matches none.
    """
    unique: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        parts = path.parts
        wild = next((i for i, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
        if wild is None or path.is_dir():
            folders = [check_folder(path)]
        else:
            root, rest = Path(*parts[:wild]), "/".join(parts[wild:])
            matching = [path for path in root.glob(rest) if not path.name.startswith(".")]
            folders = sorted(path for path in matching if (path / RECORD).is_file())
            if not folders:
                inside = any((path / "artifact" / RECORD).is_file() for path in matching)
                why = f"; did you mean {pattern.rstrip('/') + '/artifact'!r}?" if inside else _closest(root)
                raise ArtifactError(f"artifacts: got {pattern!r}, which matches no artifact{why}")
        for folder in folders:
            unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


def _closest(root: Path) -> str:
    """A hint why a pattern matched nothing."""
    if root.is_dir():
        return ""
    siblings = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
    return f": no folder {str(root)!r}{near(root.name, siblings)}"


def names_of(artifacts: Sequence[Artifact]) -> list[str]:
    """Unique names: the shortest end of each path that no other path has.

    The last folder is left out if it is called `artifact`, as in every run. The number of a multirun's job is replaced
    by the overrides that not all jobs share; if these are not unique, the number stays in front of them.
    """
    paths = [artifact.folder.absolute().parts for artifact in artifacts]
    paths = [parts[:-1] if parts[-1] == "artifact" else parts for parts in paths]
    endings = []
    for parts in paths:
        length = next(
            (n for n in range(1, len(parts)) if sum(other[-n:] == parts[-n:] for other in paths) == 1), len(parts)
        )
        endings.append(parts[-length:])
    jobs: dict[str, set[str]] = {}
    for parts, artifact in zip(endings, artifacts, strict=True):
        overrides = _overrides(artifact, len(parts))
        jobs[parts[0]] = jobs.get(parts[0], overrides) & overrides
    names = ["/".join([_job(parts[0], jobs), *parts[1:]]) for parts in endings]
    return [
        name if names.count(name) == 1 else f"{parts[0]}: {name}" for name, parts in zip(names, endings, strict=True)
    ]


def _overrides(artifact: Artifact, depth: int) -> set[str]:
    """The overrides of a multirun's job: from the file that Hydra wrote `depth` folders up, else from the record."""
    folder = artifact.folder.absolute()
    folder = folder.parent if folder.name == "artifact" else folder
    written = folder.parents[depth - 2] if depth > 1 else folder
    try:
        given = OmegaConf.to_container(OmegaConf.load(written / ".hydra" / "overrides.yaml"))
    except Exception:  # missing, or damaged in one of many ways
        given = None
    if isinstance(given, list) and all(isinstance(override, str) for override in given):
        return {str(override) for override in given}
    return set(artifact.record.overrides or ())


def _job(name: str, jobs: Mapping[str, set[str]]) -> str:
    """The overrides of a multirun's job that not all jobs share, with keys cut to their last part."""
    others = [overrides for other, overrides in jobs.items() if other.isdecimal()]
    if not name.isdecimal() or len(others) < 2:
        return name
    parted = [override.partition("=") for override in sorted(jobs[name] - others[0].intersection(*others))]
    return ", ".join(f"{key.rpartition('.')[2]}={_PATH.sub(_end, value)}" for key, _, value in parted) or name


_PATH = re.compile(r"[^,\[\]{}'\"=]*/[^,\[\]{}'\"=]*")


def _end(path: re.Match[str]) -> str:
    """The last part of a path, or the one before it if that is `artifact`."""
    parts = Path(path[0]).parts
    return parts[-2] if len(parts) > 1 and parts[-1] == "artifact" else parts[-1]


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
