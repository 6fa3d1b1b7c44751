"""Overrides and commands as text: quoted for Hydra's grammar of overrides, and then for a POSIX shell."""

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra._internal.grammar.utils import escape_special_characters
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

_INTERPOLATION = re.compile(r"(\\*)\$\{")


def command(*arguments: str) -> str:
    """The command `chirplet ARGUMENTS`, quoted for the shell; it is `python run.py` if this process was started so."""
    program = ["python", "run.py"] if Path(sys.argv[0]).name == "run.py" else ["chirplet"]
    return shlex.join([*program, *arguments])


def argument(key: str, value: Any) -> str:
    """`KEY=VALUE` as a word of a command, quoted for Hydra and the shell."""
    return shlex.quote(override_of(key, value))


def override_of(key: str, value: Any) -> str:
    """`KEY=VALUE`, which Hydra reads as this value: see `value_text`."""
    return f"{key}={value_text(value)}"


def value_text(value: Any) -> str:
    """What Hydra's grammar reads as this value.

    `value` is text, a path, a number, a boolean, None, or a list or a mapping of them. Text is read as text, also if it
    looks like something else (`null`, `1`, `[a]`, `${b}`); it is in quotes only if it must be.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{escape_special_characters(str(key))}:{value_text(value[key])}' for key in value)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(value_text, value))}]"
    # OmegaConf would look up the key in `${key}`.
    text = _INTERPOLATION.sub(r"\1\1\\${", str(value))
    if text == str(value) and _reads_as(text):
        return text
    quoted: str = QuotedString(text, Quote.single if '"' in text else Quote.double).with_quotes()
    return quoted


def _reads_as(text: str) -> bool:
    """Whether Hydra reads the text without quotes as itself."""
    try:
        parsed = OverridesParser.create().parse_override(f"key={text}")
        return not parsed.is_sweep_override() and isinstance(parsed.value(), str) and parsed.value() == text
    except HydraException:
        return False
