"""What a record tells of a configuration: no secrets, and nothing of where things lie on one machine."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOCAL_KEYS = (
    *("cache_dir", "artifact", "artifacts", "baseline", "teacher", "transfer", "input", "output", "resume"),
    *("repeat", "push", "push_private"),
)
"""Where things lie on one machine; no part of what makes a result."""


def shown(overrides: Sequence[str]) -> list[str]:
    """Overrides as they may be recorded: without secrets, folders of artifacts, and the way to files."""
    told = []
    for override in overrides:
        key, equals, value = override.partition("=")
        name = key.lstrip("+~")
        if SECRET.search(name.rpartition(".")[2]) or name in {"cache_dir", "resume", "output", "push", "push_private"}:
            continue
        if name in LOCAL_KEYS and value not in {"null", "-"}:
            told.append(f"{key}=DIR")
        elif _SECRET_INSIDE.search(value):
            told.append(f"{key}=HIDDEN")
        else:
            told.append(f"{key}{equals}{_WAY.sub(lambda match: Path(match[0].strip()).name, value)}")
    return told


_SECRET_INSIDE = re.compile(r"(key|token|secret|password|credentials?)[\"']?\s*:", re.IGNORECASE)
"""A mapping with a key that `SECRET` would leave out."""

_WAY = re.compile(r"(?<![\w.:/~-])(?:file:/+)?[~/][^,\[\]{}'\"=]*")
"""An absolute path or one from home, spaces included."""

SECRET = re.compile(r"(^|_)(key|token|secret|password|credentials?)$", re.IGNORECASE)
"""Keys whose values stay out of records and logs."""


def recorded(resolved: dict[Any, Any], raw: dict[Any, Any]) -> dict[str, Any]:
    """A configuration as a record has it, from its resolved form and the one that was written."""
    return {str(key): _public(value, raw[key]) for key, value in resolved.items() if key not in (*LOCAL_KEYS, "chain")}


def _public(value: Any, raw: Any) -> Any:
    """The value without secrets, and with absolute and home paths cut down to their last part.

    What comes from the environment is recorded as the reference it was written as, never as what it resolved to.
    """
    if isinstance(raw, str) and "${oc.env:" in raw:
        return raw
    if isinstance(value, dict):
        parts = raw if isinstance(raw, dict) else value
        return {key: _public(item, parts[key]) for key, item in value.items() if not SECRET.search(str(key))}
    if isinstance(value, list):
        items = raw if isinstance(raw, list) else value
        return [_public(item, items[place]) for place, item in enumerate(value)]
    if isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute()):
        return Path(value).name
    return value


def public(plain: dict[str, Any]) -> dict[str, Any]:
    """An unresolved configuration as it may be recorded: without secrets, paths cut down to their last part."""
    shown: dict[str, Any] = _public(plain, plain)
    return shown
