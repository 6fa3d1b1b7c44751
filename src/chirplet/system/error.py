"""Errors that the user can mend, of one line each."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Self


class Key(str):
    """A key's name as a part of an error's message, which who knows better may replace.

    What opens a model or reads a file does so for several keys: of a student, `model.revision` is `student.revision`.
    """


class UserError(Exception):
    """Something the user can mend: the message is one line that names what is wrong and what would be right.

    It is given in parts, of which those that are a `Key` can be `renamed`; all else in it, such as the name of a file,
    stays as it is. `run.py` prints it without a traceback and ends with `exit_code`.
    """

    exit_code = 2

    def __init__(self, *parts: str) -> None:
        super().__init__("".join(parts))
        self.parts = parts

    def behind(self, text: str) -> Self:
        """The same error with `text` before its message."""
        return type(self)(text, *self.parts)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same error with other names for the keys that `names` has; a name that ends in a dot is of all below."""
        return type(self)(*(Key(_renamed(part, names)) if isinstance(part, Key) else part for part in self.parts))


def _renamed(key: str, names: Mapping[str, str]) -> str:
    group, dot, rest = key.partition(".")
    return names.get(key) or f"{names.get(group + dot, group + dot)}{rest}"


class ConfigError(UserError):
    """The configuration is not valid. Several faults come as several lines, one each."""


class DataError(UserError):
    """A data file is missing, damaged, or not what its source says it is."""


class ModelError(UserError):
    """Weights or a tokenizer are missing, damaged, or do not fit."""


class ArtifactError(UserError):
    """A folder is not an artifact, or one could not be written."""


class QuantizationError(UserError):
    """A model cannot be quantized as was asked."""


class PruningError(UserError):
    """A model cannot be pruned as was asked."""


class SweepError(UserError):
    """A sweep ended without what it was for."""

    exit_code = 1


class PushError(UserError):
    """The hub did not take an artifact, which is still there."""

    exit_code = 1


class ProcessError(UserError):
    """A process that trained along ended before its time."""

    exit_code = 1


class Interrupted(UserError):
    """Ctrl-C or SIGTERM; the message says how to go on."""

    exit_code = 130


def near(word: str, candidates: Iterable[str]) -> str:
    """A hint `; did you mean 'x'?` for a misspelt word, or the empty string where nothing is near."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class where it has none; Arrow's go on for many."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def kind_and_message(error: BaseException) -> str:
    """The name of the error's class and the beginning of its message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
