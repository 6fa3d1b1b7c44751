"""Find artifacts by patterns, and name them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from chirplet.artifact.artifact import RECORD, Artifact, check_folder
from chirplet.system.error import ArtifactError, near


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
