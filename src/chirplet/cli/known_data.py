"""An artifact knows its data: what its record has of them, and where their files are, as overrides."""

import importlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from chirplet.artifact.artifact import Artifact
from chirplet.artifact.find import find_artifacts
from chirplet.artifact.local_files import read_local_files
from chirplet.cli.overrides import below_given
from chirplet.cli.recorded import option_of, refused
from chirplet.config.roles import Role, keys_with
from chirplet.config.schema import as_list
from chirplet.data.base import Source
from chirplet.data.table.files import matching_files
from chirplet.stage.base import Stage
from chirplet.system.command_line import override_of
from chirplet.system.error import ArtifactError, ConfigError

SEVERAL = "artifacts"
"""The key of a comparison, which finds the data of each artifact itself."""
FILES = ("experiment", "search")
"""Groups whose options choose options of other groups."""


def with_data(arguments: Sequence[str], conf: Path) -> list[str]:
    """The command line with the data settings of the artifact that it starts from, below what the user gave.

    With `data=`, and with an experiment that names data, it stays as it is.

    Args:
        arguments: the command line.
        conf: the folder of the configuration.

    Raises:
        ConfigError: a file of the data is not where it was, or the artifacts of several jobs have different data.
    """
    try:
        given = OverridesParser.create().parse_overrides([one for one in arguments if one[:1] != "-" and "=" in one])
    except HydraException:  # Hydra reports it
        return list(arguments)
    keys = {override.key_or_group for override in given}
    if "data" in keys or any(map(_names_data, _files(given, conf))):
        return list(arguments)
    try:
        artifacts = [Artifact.open(Path(folder).expanduser()) for folder in _parents(given, conf)]
    except ArtifactError:  # the stage reports it with its key
        artifacts = []
    if not artifacts:
        return list(arguments)
    own = {key.removeprefix("data.") for key in keys if key.startswith("data.")}
    settings = [data_overrides(artifact, own, conf) for artifact in artifacts]
    if any(one != settings[0] for one in settings):
        both = " and ".join(repr(str(artifact.folder)) for artifact in artifacts[:2])
        raise ConfigError(f"artifact: got {both}, which were made from different data; give them one by one, or data=")
    return below_given(arguments, settings[0])


def data_overrides(artifact: Artifact, given: Collection[str] = (), conf: Path | None = None) -> list[str]:
    """Overrides that choose the data of an artifact.

    Args:
        artifact: the artifact.
        given: settings of the data that are left out.
        conf: values equal to those of this configuration are left out, too.

    Raises:
        ConfigError: a file is not where it was, or a value is not taken from a record.
    """
    recorded = artifact.record.config.get("data", {})
    if "_target_" not in recorded:
        return []
    option, source = option_of("data", recorded, "artifact"), _source(str(recorded["_target_"]))
    defaults = {} if conf is None else _defaults(conf / "data", option)
    known, where = read_local_files(artifact), repr(str(artifact.folder))
    faults, chosen = list[str](), [f"data={option}"]
    for name in source.model_fields:
        value = recorded.get(name)
        if name not in recorded or name in given or (name in defaults and defaults[name] == value):
            continue
        reason = None if name in known else refused(value)
        value = known.get(name, value)
        if name in source.paths and (reason is not None or not all(map(_is_there, as_list(value)))):
            faults.append(f"data.{name}: {value!r}, which {where} was made from, is not there; give data.{name}=PATH")
        elif reason is not None:
            faults.append(f"data.{name}: the record of {where} has {value!r}, {reason}; give data.{name}=VALUE")
        else:
            chosen.append(override_of(f"data.{name}", value))
    if faults:
        raise ConfigError("\n".join(faults))
    return chosen


def _source(target: str) -> type[Source]:
    """The class of a source of chirplet."""
    module, _, name = target.rpartition(".")
    try:
        source = getattr(importlib.import_module(module), name, None)
    except ImportError:
        source = None
    if not (isinstance(source, type) and issubclass(source, Source)):
        raise ConfigError(f"artifact: the record's config has {target!r} as data._target_, should be one of chirplet's")
    return source


def _parents(given: Sequence[Override], conf: Path) -> list[str]:
    """The artifact that each job starts from; the first of a list. Empty where the stage uses no data or no parent."""
    stage = _stage(given, conf)
    asked = any(override.key_or_group.startswith("data.") for override in given)
    keys = (*keys_with(Role.PARENT), *([SEVERAL] if asked else []))
    used = keys if stage is None else [key for key in keys if stage.reads_data and key in stage.model_fields]
    override = next((one for one in given if one.key_or_group in used), None)
    if override is None:
        return []
    parser = OverridesParser.create()
    texts = override.sweep_string_iterator() if override.is_sweep_override() else []
    values = [parser.parse_override(f"key={text}").value() for text in texts] or [override.value()]
    firsts = [value[0] if isinstance(value, list) and value else value for value in values]
    jobs = [first for first in firsts if isinstance(first, str)]
    return jobs if override.key_or_group != SEVERAL else [str(folder) for folder in find_artifacts(jobs)][:1]


def _stage(given: Sequence[Override], conf: Path) -> type[Stage] | None:
    """The class of the stage; None if it is not known here, for example since it is not one of `conf`."""
    named = [override.value() for override in given if override.key_or_group == "stage"]
    for file in () if named else (*_files(given, conf), _yaml(conf / "config.yaml")):
        entries = [entry for entry in file.get("defaults", []) if isinstance(entry, dict)]
        named += [entry[key] for entry in entries for key in ("override /stage", "stage") if key in entry]
    target = _yaml(conf / "stage" / f"{named[0]}.yaml").get("_target_") if named else None
    if target is None:
        return None
    module, _, name = str(target).rpartition(".")
    stage: type[Stage] = getattr(importlib.import_module(module), name)
    return stage


def _files(given: Sequence[Override], conf: Path) -> Iterator[dict[str, Any]]:
    """The files of experiments and searches, with those that they extend."""
    names = list[tuple[str, str]]()
    for override in given:
        if override.key_or_group in FILES and not override.is_sweep_override():
            value = override.value()
            names += [(override.key_or_group, str(name)) for name in (value if isinstance(value, list) else [value])]
    while names:
        group, name = names.pop()
        file = _yaml(conf / group / f"{name}.yaml")
        names += [(group, entry) for entry in file.get("defaults", []) if isinstance(entry, str)]
        yield file


def _names_data(file: dict[str, Any]) -> bool:
    entries = [entry for entry in file.get("defaults", []) if isinstance(entry, dict)]
    return "data" in file or any("override /data" in entry for entry in entries)


def _defaults(folder: Path, option: str) -> dict[str, Any]:
    """The values of an option, with those of the files that it extends."""
    own = _yaml(folder / f"{option}.yaml")
    extended = [entry for entry in own.get("defaults", []) if entry != "_self_"]
    return {name: value for one in extended for name, value in _defaults(folder, one).items()} | own


def _yaml(file: Path) -> dict[str, Any]:
    """The content of a file of the configuration; empty if there is none, which Hydra reports."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_there(path: Any) -> bool:
    """Whether a path, or a pattern of paths, names something."""
    return isinstance(path, str) and (Path(path).exists() or bool(matching_files(path)))
