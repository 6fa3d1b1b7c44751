"""Which options of `conf/` a record was made with.

A record may come from a stranger. Its `_target_`s are never imported: only the name of an option is taken from them,
which Hydra then looks up in `conf/`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from chirplet.artifact.artifact import Artifact, Record
from chirplet.artifact.local_files import read_local_files
from chirplet.cli.overrides import below_given
from chirplet.cli.recorded import option_of
from chirplet.config.roles import Role, keys_with
from chirplet.stage.chain import StageName
from chirplet.system.command_line import override_of
from chirplet.system.error import ConfigError

NONE = {"callback": "none"}
"""The options that stand for no option of a group."""


def expanded(arguments: Sequence[str]) -> list[str]:
    """The command line with the options and files of the artifact that `reproduce=` names, below what the user gave.

    Without them Hydra would refuse keys that the defaults do not have.

    Raises:
        ConfigError: it names several artifacts, or its options are not known.
        ArtifactError: it names no artifact.
    """
    given = [argument for argument in arguments if argument.startswith("reproduce=")]
    if not given:
        return list(arguments)
    folders = [override.value() for override in parsed(given)]
    if any(override.is_sweep_override() for override in parsed(given)) or not all(
        isinstance(folder, str) for folder in folders
    ):
        if folders == [None]:
            return list(arguments)
        raise ConfigError(f"reproduce: got {given[0].partition('=')[2]!r}, should be one folder of an artifact")
    if len(given) > 1:
        raise ConfigError(f"reproduce: is given {len(given)} times, should be once")
    if {"-m", "--multirun"} & set(arguments):
        raise ConfigError("reproduce: got -m, should be one run; give seed=N and others without it")
    artifact = Artifact.open(Path(str(folders[0])).expanduser())
    files = [override_of(f"data.{name}", value) for name, value in read_local_files(artifact).items()]
    return below_given(arguments, [*choices(artifact.record), *files])


def choices(record: Record) -> list[str]:
    """Overrides that choose the record's options.

    Raises:
        ConfigError: it names no options, or options that chirplet does not have.
    """
    config = record.config
    stage = option_of("stage", config.get("stage"))
    if stage not in (*get_args(StageName), "import_model"):
        raise ConfigError(
            f"reproduce: the record has {stage!r} as stage._target_, should be of a stage that makes an artifact"
        )
    chosen = [f"stage={stage}"]
    for group in keys_with(Role.OPTION):
        parts, none = config.get(group), NONE.get(group)
        if isinstance(parts, dict) and "_target_" in parts:
            chosen.append(f"{group}={option_of(group, parts)}")
            continue
        names = [_named(group, name, part) for name, part in parts.items() if part] if isinstance(parts, dict) else []
        known = [name for name in names if name is not None]
        if known or (none is not None and parts is not None):
            chosen.append(f"{group}=[{','.join(known)}]" if known else f"{group}={none}")
    # All models have the same keys, whose values are set afterwards.
    return [*chosen, *(["model@student=minilm"] if config.get("student") else [])]


def parsed(overrides: Sequence[str]) -> list[Override]:
    """Overrides as Hydra reads them."""
    return OverridesParser.create().parse_overrides(list(overrides))


def keys_of(overrides: Sequence[str]) -> list[str]:
    """The dotted keys that overrides set, or the package of a group if one is named.

    Raises:
        ConfigError: one is an experiment or a search, whose values would go below the record's.
    """
    keys = []
    for override in parsed(overrides):
        key = override.package or override.key_or_group.replace("/", ".")
        if key in {"experiment", "search"}:
            raise ConfigError(
                f"{key}: got {override.value()!r} with reproduce=, should be left out; give its keys one by one"
            )
        keys.append(key)
    return keys


def _named(group: str, name: str, settings: Any) -> str | None:
    """The option that a part of a group comes from; None for a class of the user, which must be given again."""
    target = settings.get("_target_") if isinstance(settings, dict) else None
    match = re.fullmatch(rf"chirplet\.{group}\.{re.escape(name)}\.[A-Za-z0-9]+", str(target))
    return name if match and re.fullmatch("[a-z][a-z0-9_]*", name) else None
