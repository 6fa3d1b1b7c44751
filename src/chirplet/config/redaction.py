"""The part of a configuration that a record holds: no secrets and no local paths."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chirplet.config.roles import Role, keys_with
from chirplet.system.command_line import value_text


def shown(overrides: Sequence[str]) -> list[str]:
    """Overrides for a record: without secrets, folders of artifacts, and paths."""
    recorded_overrides = []
    for override in overrides:
        key, equals, value = override.partition("=")
        name = key.lstrip("+~")
        if SECRET.search(name.rpartition(".")[2]) or name in keys_with(Role.HIDDEN):
            continue
        if name in keys_with(Role.LOCAL) and value not in {"null", "-"}:
            recorded_overrides.append(f"{key}=DIR")
        elif _SECRET_INSIDE.search(value):
            recorded_overrides.append(f"{key}={HIDDEN}")
        else:
            recorded_overrides.append(f"{key}{equals}{_WAY.sub(_last_part, value)}")
    return recorded_overrides


HIDDEN = "HIDDEN"
"""What stands in a record for a value that must not."""

_SECRET_INSIDE = re.compile(r"(key|token|secret|password|credentials?)[\"']?\s*:", re.IGNORECASE)
"""A mapping with a key that `SECRET` would leave out."""

_WAY = re.compile(
    r"""(["'])(?:file:/+)?(?P<quoted>[~/](?:\\.|(?!\1).)*)\1|(?<![\w.:/~}-])(?:file:/+)?[~/][^,\[\]{}'"=]*"""
)
"""An absolute path or one from home, in quotes or with spaces."""


def _last_part(path: re.Match[str]) -> str:
    return Path(path[0].strip()).name if path["quoted"] is None else value_text(Path(path["quoted"]).name)


SECRET = re.compile(r"(^|_)(key|token|secret|password|credentials?)$", re.IGNORECASE)
"""Keys whose values stay out of records and logs."""


def typed(overrides: Sequence[str]) -> list[str]:
    """Hydra's list of overrides as they were typed; read one by one, each `${...}` in them would be resolved."""
    plain = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(plain, list)
    return [str(override) for override in plain]


def recorded(resolved: dict[Any, Any], raw: dict[Any, Any]) -> dict[str, Any]:
    """A configuration as a record has it, from its resolved form and the one that was written.

    What comes from the environment is recorded as a reference to it, through however many other keys it came.
    """
    OmegaConf.register_new_resolver(_MARKING, lambda name, *default: f"{_MARK}{name}{_MARK}", replace=True)
    marked = _resolved(OmegaConf.create(_marking(raw)))
    unrecorded = keys_with(Role.LOCAL, Role.UNRECORDED)
    return {str(key): _public(value, raw[key], marked[key]) for key, value in resolved.items() if key not in unrecorded}


def public(plain: dict[str, Any]) -> dict[str, Any]:
    """A configuration as it is, without secrets, and with paths cut down to their last part."""
    shown: dict[str, Any] = _public(plain, plain, plain)
    return shown


FROM_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:")
"""How an interpolation begins whose value is a variable of the environment."""
_MARKING = "chirplet.from_environment"
"""The resolver that stands in for `oc.env`, and gives the variable's name between marks."""
_MARK = "__from_environment__"
_UNRESOLVED = object()


def _marking(raw: Any) -> Any:
    """A configuration as it was written, with the other resolver in it."""
    if isinstance(raw, dict):
        return {key: _marking(item) for key, item in raw.items()}
    if isinstance(raw, list):
        return [_marking(item) for item in raw]
    return FROM_ENVIRONMENT.sub(f"${{{_MARKING}:", raw) if isinstance(raw, str) else raw


def _resolved(node: Any) -> Any:
    """Plain data, with `_UNRESOLVED` where a mark cannot replace the value, for example in a number or a key."""
    if not OmegaConf.is_config(node):
        return node
    keys = list(node) if OmegaConf.is_dict(node) else range(len(node))
    plain = {}
    for key in keys:
        try:
            plain[key] = _resolved(node[key])
        except OmegaConfBaseException:
            plain[key] = _UNRESOLVED
    return plain if OmegaConf.is_dict(node) else list(plain.values())


def _public(value: Any, raw: Any, marked: Any) -> Any:
    """The value without secrets, and with absolute and home paths cut down to their last part."""
    if isinstance(raw, str) and FROM_ENVIRONMENT.search(raw):
        return raw
    if marked is _UNRESOLVED:
        return raw if isinstance(raw, str) and raw != value else HIDDEN
    if isinstance(marked, str) and _MARK in marked:
        return re.sub(f"{_MARK}(.*?){_MARK}", r"${oc.env:\1}", marked)
    if isinstance(value, dict):
        parts = raw if isinstance(raw, dict) else value
        return {
            key: _public(item, parts[key], marked[key]) for key, item in value.items() if not SECRET.search(str(key))
        }
    if isinstance(value, list):
        items = raw if isinstance(raw, list) else value
        return [_public(*triple) for triple in zip(value, items, marked, strict=True)]
    if isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute()):
        return Path(value).name
    return value
