"""The values of a record's configuration, put onto one that was composed from `conf/`."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chirplet.cli.recorded import refused
from chirplet.config.roles import Role, keys_with
from chirplet.system.error import ConfigError, near

_LOCAL = {f"${{{key}}}" for key in keys_with(Role.LOCAL)}

ABSENT = object()


def restored(cfg: DictConfig, recorded: dict[str, Any], given: Collection[str]) -> DictConfig:
    """`cfg` with every recorded value, except for the keys in `given` and below them.

    Never sets a `_target_`, a value that would be resolved, or a path outside the working directory. The `_target_`s of
    `cfg` must equal the recorded ones.

    Raises:
        ConfigError: a line for each key that `cfg` does not have, and each value that must be given again.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    faults: list[str] = []
    referring: list[tuple[str, dict[str, Any], str, Any]] = []
    for path, node, key, value in _leaves(raw, recorded, given, faults):
        if isinstance(node[key], str) and "${" in node[key]:
            referring.append((path, node, key, value))
        else:
            node[key] = value
    if faults:
        raise ConfigError("\n".join(faults))
    resolved = OmegaConf.to_container(OmegaConf.create(raw), resolve=True)
    for path, node, key, value in referring:
        # What refers to another key follows it, unless it was set apart from it.
        if _at(resolved, path) != value:
            node[key] = value
    changed = OmegaConf.create(raw)
    assert isinstance(changed, DictConfig)
    return changed


def differences(here: dict[str, Any], recorded: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys with the recorded value and the one here, `ABSENT` where there is none.

    Without loggers, and without paths that differ only in their folders.
    """
    for key, old, new in _differences(here, recorded, ""):
        if key.partition(".")[0] not in keys_with(Role.NO_RESULT) and not _same_file(old, new):
            yield key, old, new


def _leaves(
    raw: dict[str, Any], recorded: dict[str, Any], given: Collection[str], faults: list[str], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any], str, Any]]:
    """Each value to set: its dotted key, the mapping it is in, its key there, and itself."""
    for key, value in recorded.items():
        path = f"{prefix}{key}"
        if path in keys_with(Role.NO_RESULT) or any(path == one or path.startswith(f"{one}.") for one in given):
            continue
        if key not in raw or path in keys_with(Role.LOCAL):
            if value is not None:
                faults.append(_unknown(path, value, raw))
        elif key == "_target_":
            if value != raw[key]:
                faults.append(f"{path}: the record has {value!r}, this version {raw[key]!r}; the record's is not taken")
        elif isinstance(value, dict) and isinstance(raw[key], dict):
            yield from _leaves(raw[key], value, given, faults, f"{path}.")
        elif isinstance(raw[key], dict) and (value is not None or not prefix):
            faults.append(f"{path}: the record has {value!r}, should have keys: {', '.join(raw[key])}")
        elif value == raw[key] or (isinstance(raw[key], str) and raw[key] in _LOCAL):
            continue
        elif isinstance(raw[key], str) and "${" in raw[key] and isinstance(value, dict):
            continue  # the same as another group, which has its own values
        elif (reason := refused(value)) is not None:
            faults.append(f"{path}: the record has {value!r}, {reason}; give {path}=VALUE")
        else:
            yield path, raw, key, value


def _unknown(path: str, value: Any, siblings: dict[str, Any]) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return f"{path}: the record has one that is not chirplet's ({value['_target_']!r}); give it again, or ~{path}"
    return f"{path}: the record has {value!r}, but there is no such key here{near(path.rpartition('.')[2], siblings)}"


def _differences(here: Any, recorded: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(here, dict) and isinstance(recorded, dict):
        for key in {**recorded, **here}:
            yield from _differences(here.get(key, ABSENT), recorded.get(key, ABSENT), f"{prefix}{key}.")
    elif here != recorded and {id(here), id(recorded)} != {id(None), id(ABSENT)}:
        yield prefix.removesuffix("."), recorded, here


def _same_file(one: Any, other: Any) -> bool:
    """Whether two values may name the same file: a record has of an absolute path only the last part."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_file, one, other))
    if not (isinstance(one, str) and isinstance(other, str)):
        return bool(one == other)
    return one == other or (Path(one).name == Path(other).name and not ("/" in one and "/" in other))


def _at(node: Any, path: str) -> Any:
    for key in path.split("."):
        node = node.get(key, ABSENT) if isinstance(node, dict) else ABSENT
    return node
