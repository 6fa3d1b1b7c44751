"""What is taken from the configuration in a record, which may come from a stranger."""

import re
from pathlib import Path
from typing import Any

from chirplet.system.error import ConfigError


def option_of(group: str, settings: Any, key: str = "reproduce") -> str:
    """`csv` of `{_target_: chirplet.data.csv.Csv}`: a file of `conf/` is called as its module. `key` is the user's."""
    target = settings.get("_target_") if isinstance(settings, dict) else None
    match = re.fullmatch(rf"chirplet\.{group}\.([a-z][a-z0-9_]*)\.[A-Za-z0-9]+", str(target))
    if match is None:
        raise ConfigError(f"{key}: the record's config has {target!r} as {group}._target_, should be one of chirplet's")
    return match[1]


def refused(value: Any) -> str | None:
    """Why a value is not taken from a record, if it is not."""
    if isinstance(value, dict | list):
        inside = [*value.values()] if isinstance(value, dict) else value
        if isinstance(value, dict) and "_target_" in value:
            return "which names a class"
        return next((reason for reason in map(refused, inside) if reason is not None), None)
    if not isinstance(value, str):
        return None
    if "${" in value or value == "???":
        return "which would be resolved on this machine"
    if value.startswith("~") or Path(value).is_absolute() or ".." in Path(value).parts:
        return "which leads out of the working directory"
    return None
