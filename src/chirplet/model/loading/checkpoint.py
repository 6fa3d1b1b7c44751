"""Locate a checkpoint's files, and describe its origin for the record."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from chirplet.model.loading.hub import download
from chirplet.model.pretrained import NAME, Pretrained
from chirplet.model.wheel.bundled import CHECKPOINTS
from chirplet.system.error import Key, ModelError
from chirplet.system.hashing import file_hash

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Origin:
    """What a model started from.

    `name` is a hub id or a folder's name, never a path. `revision` is the hub's commit hash or the bundled
    distribution with its version, and None for a folder. `parent` is the id of the artifact in the folder, if it is
    one. `pretrained` is false for random weights and for models made from them. `weights_sha256` is None for random
    weights.
    """

    name: str
    revision: str | None
    weights_sha256: str | None
    pretrained: bool
    parent: str | None


def checkpoint_folder(settings: Pretrained) -> Path:
    """The local folder of the checkpoint, downloaded if necessary.

    Raises:
        ModelError: it is damaged or cannot be downloaded.
    """
    if settings.is_bundled:
        return CHECKPOINTS[settings.name_or_path].folder()
    if settings.is_folder:
        return settings.folder
    return download(settings.name_or_path, settings.revision, weights=settings.pretrained)


def weight_files(settings: Pretrained, folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one file, or its shards in order. Checks that the headers are readable.

    Raises:
        ModelError: there are no safetensors, or a file is missing or damaged.
    """
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if not (folder / names[0]).is_file() and index.is_file():
        names = _shards(index)
    elif not (folder / names[0]).is_file():
        raise ModelError(*_no_safetensors(settings, folder))
    for name in names:
        if not (folder / name).is_file():
            raise ModelError(NAME, f": {settings.name_or_path} lacks its weights {name}")
        try:
            with safe_open(folder / name, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(NAME, f": {name} of {settings.name_or_path} {_damage(folder / name, error)}") from None
    return [folder / name for name in names]


def origin_of(settings: Pretrained, folder: Path, weights: list[Path]) -> Origin:
    """The origin of a model from a checkpoint. `weights` is empty if only the architecture is used."""
    if settings.is_bundled:
        bundled = CHECKPOINTS[settings.name_or_path]
        digest = bundled.weights_sha256 if weights else None
        return Origin(bundled.original_name, bundled.revision, digest, settings.pretrained, None)
    digest = file_hash(*weights) if weights else None
    if not settings.is_folder:
        return Origin(settings.name_or_path, folder.name, digest, settings.pretrained, None)
    record = _read_json(folder / "artifact.json") if (folder / "artifact.json").is_file() else {}
    pretrained = settings.pretrained and record.get("pretrained", True)
    parent = record.get("id") if settings.pretrained else None
    if not (isinstance(pretrained, bool) and isinstance(parent, str | None)):
        raise ModelError(f"{folder / 'artifact.json'} should have a boolean as pretrained and text as id")
    return Origin(folder.resolve().name, None, digest, pretrained, parent)


def _damage(file: Path, error: Exception) -> str:
    """What is wrong with a file that safetensors cannot open."""
    with file.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return "is a Git LFS pointer instead of the weights; run git lfs pull in its repository"
    return f"is damaged ({error})"


def _shards(index: Path) -> list[str]:
    named = _read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise ModelError(f"{index} names no weights")
    names = sorted({str(name) for name in named.values()})
    outside = next((name for name in names if Path(name).name != name), None)
    if outside is not None:
        raise ModelError(f"{index} names {outside!r}, should name files of its folder")
    return names


def _no_safetensors(settings: Pretrained, folder: Path) -> tuple[str, ...]:
    name = settings.name_or_path
    problem = f": {name} has no model.safetensors, and only safetensors are loaded, never pickles; "
    if settings.is_folder:
        return NAME, problem, "save it again with save_pretrained"
    or_convert = f"=refs/pr/N (see https://huggingface.co/{name}/discussions), or convert it and give its folder"
    return NAME, problem, "pin the pull request that converts it, ", Key("model.revision"), or_convert


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} should hold a JSON object")
    return content
