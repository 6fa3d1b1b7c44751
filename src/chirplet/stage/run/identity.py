"""What makes a run the run that it is: one identity, which answers every question of "is this the same run?".

"Finished before", a chain's reused steps, `resume=auto` and `reproduce` compare identities. Where two differ,
`differences` says in what.
"""

import sysconfig
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from chirplet.artifact.artifact import Artifact, Record
from chirplet.config.roles import Role, keys_with
from chirplet.data.base import Source, file_hashes
from chirplet.model.pretrained import Pretrained
from chirplet.system.hardware import cpu_name
from chirplet.system.hashing import file_hash, folder_hash, json_hash

SHOWN = 5
"""Keys that a message names at most."""
DIGITS = 12
"""Digits of a hash in a message; records name teachers by as many of their ids."""


@dataclass(frozen=True)
class Inputs:
    """What a run reads: its configuration and, by key, the artifacts, models and files that it starts from.

    `values` is the resolved configuration, with what comes from the environment.
    """

    values: Mapping[str, Any]
    data: Source
    cache_dir: Path
    parents: Mapping[str, list[Path]]
    models: Mapping[str, Pretrained]
    unlabeled_files: list[Path]


@dataclass(frozen=True)
class Identity:
    """What identifies a run. It holds hashes, no values and no paths, so it may be stored.

    `config` has a hash for each dotted key, without keys that change no result; `data` is the corpus's fingerprint,
    `parents` are ids by key, `models` SHA-256 of a local folder's `weights` and of the whole `folder`, by key;
    `unlabeled_files` SHA-256 by name. `code`, `libraries` and `machine` are empty where they are not known.
    """

    config: dict[str, str]
    data: str
    parents: dict[str, list[str]]
    models: dict[str, dict[str, str]]
    unlabeled_files: dict[str, str]
    code: str = ""
    libraries: list[str] = field(default_factory=list)
    machine: str = ""

    @property
    def key(self) -> str:
        """One hash of all of it."""
        return json_hash(asdict(self))

    def plain(self) -> dict[str, Any]:
        """As mappings, lists and strings, for a checkpoint."""
        return asdict(self)


PARTS = ("config", "data", "parents", "models", "unlabeled_files")
"""What two runs are compared by wherever they were carried out."""


def identity_of(inputs: Inputs) -> Identity:
    """The identity of a run that is about to start.

    Raises:
        UserError: data, an artifact or a model cannot be read.
    """
    from chirplet.data.preparation.prepare import prepare

    return Identity(
        config=_hashes(inputs.values),
        data=prepare(inputs.data, inputs.cache_dir).fingerprint,
        parents={key: [Artifact.open(path).record.id for path in paths] for key, paths in inputs.parents.items()},
        models={key: _model_hashes(model) for key, model in inputs.models.items() if model.is_folder},
        unlabeled_files=file_hashes(inputs.unlabeled_files),
        code=_code(),
        libraries=_libraries(),
        machine=cpu_name(),
    )


def surroundings() -> dict[str, str]:
    """What may change a result besides what a run reads, hashed: chirplet's code, libraries, and the machine's name."""
    return {"version of chirplet": _code(), "libraries": json_hash(_libraries()), "machine": cpu_name()}


def identity_in(record: Record) -> Identity:
    """The identity of the run that wrote a record, as far as the record has it."""
    teachers = record.training.get("teachers", {})
    texts = record.training.get("texts")
    weights = record.lineage[-1].weights_sha256
    trains = {"finetune": "model", "distill": "student"}.get(record.stage)
    return Identity(
        config=_hashes(record.config),
        data=record.data.fingerprint,
        parents={"teacher": list(teachers)} if teachers else {"artifact": [record.parent]} if record.parent else {},
        models={trains: {"weights": weights}} if trains is not None and weights is not None else {},
        unlabeled_files=texts.get("unlabeled_files", {}) if isinstance(texts, dict) else {},
    )


def differences(run: Identity, other: Identity, parts: Collection[str] = PARTS) -> Iterator[tuple[str, str]]:
    """Where a run differs from another one: the part and a line about it; parts that one of them lacks are skipped."""
    if "config" in parts:
        keys = [key for key in {**run.config, **other.config} if run.config.get(key) != other.config.get(key)]
        if keys:
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            yield "config", f"another value of {', '.join(keys[:SHOWN])}{more}"
    if "data" in parts and run.data != other.data:
        yield (
            "data",
            f"data: gives other texts or splits (fingerprint {run.data[:DIGITS]}, should be {other.data[:DIGITS]})",
        )
    if "parents" in parts:
        for key in run.parents.keys() & other.parents.keys():
            ids = [[one[:DIGITS] for one in dict.fromkeys(side.parents[key])] for side in (run, other)]
            if ids[0] != ids[1]:
                yield "parents", f"{key}: has the id {', '.join(ids[0])}, should be {', '.join(ids[1])}"
    if "models" in parts:
        for key in run.models.keys() & other.models.keys():
            known = [what for what in ("weights", "folder") if what in run.models[key] and what in other.models[key]]
            other_hashes = [what for what in known if run.models[key][what] != other.models[key][what]]
            if other_hashes:
                what = other_hashes[0]
                now, before = (side.models[key][what][:DIGITS] for side in (run, other))
                content = "weights" if what == "weights" else "files"
                yield "models", f"{key}.name_or_path: holds other {content} (SHA-256 {now}, should be {before})"
    if "unlabeled_files" in parts and [*run.unlabeled_files.values()] != [*other.unlabeled_files.values()]:
        names = [", ".join(side.unlabeled_files) or "null" for side in (run, other)]
        line = f"unlabeled_files: got {names[0]}, should be {names[1]} with the same content"
        yield "unlabeled_files", line
    if "code" in parts and run.code != other.code:
        yield "code", "another version of chirplet"


def _hashes(config: Mapping[str, Any]) -> dict[str, str]:
    """A hash for each key that makes the result; `data` is known by its fingerprint."""
    local, apart = keys_with(Role.LOCAL), {"data", *keys_with(Role.LOCAL, Role.NO_RESULT, Role.UNRECORDED)}
    essential = {key: value for key, value in config.items() if key not in apart}
    stage = essential.get("stage")
    if isinstance(stage, Mapping):
        essential["stage"] = {key: value for key, value in stage.items() if key not in local}
    return {key: json_hash(value)[:DIGITS] for key, value in _flat(essential, "")}


def _flat(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _model_hashes(model: Pretrained) -> dict[str, str]:
    from chirplet.model.loading.checkpoint import weight_files

    weights = weight_files(model, model.folder) if model.pretrained else []
    hashes = {"folder": _folder_hash(model.folder)}
    return {"weights": file_hash(*weights)} | hashes if weights else hashes


def _folder_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files but Python's caches."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return folder_hash(files, folder.parent)


@cache
def _code() -> str:
    """Hash of chirplet's modules when this process first asked."""
    return _folder_hash(Path(__file__).resolve().parents[2])


@cache
def _libraries() -> list[str]:
    """Every library that is installed, as NAME-VERSION: any may change what a run makes.

    By the names of their folders, since to read what they hold takes a second. Not by `sys.path`, which libraries add
    to while they are imported.
    """
    paths = sysconfig.get_paths()
    names = {path.stem for key in ("purelib", "platlib") for path in Path(paths[key]).glob("*.dist-info")}
    return sorted(name for name in names if not name.startswith("chirplet-"))
