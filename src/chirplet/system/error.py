"""Errors that the user can fix, with a message of one line."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Self


class Key(str):
    """A key's name in an error message, which callers may rename.

    Code that opens a model or reads a file serves several keys: for a student, `model.revision` is `student.revision`.
    """


class UserError(Exception):
    """An error that the user can fix. The message is one line that names the fault and the remedy.

    The message consists of parts; `renamed` replaces the parts of type `Key` only. The command line prints the message
    without a traceback and exits with `exit_code`.
    """

    exit_code = 2

    def __init__(self, *parts: str) -> None:
        super().__init__("".join(parts))
        self.parts = parts

    def behind(self, text: str) -> Self:
        """The same error with `text` before its message."""
        return type(self)(text, *self.parts)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same error with keys renamed by `names`; a name that ends in a dot renames all keys below it."""
        return type(self)(*(Key(_renamed(part, names)) if isinstance(part, Key) else part for part in self.parts))


def _renamed(key: str, names: Mapping[str, str]) -> str:
    group, dot, rest = key.partition(".")
    return names.get(key) or f"{names.get(group + dot, group + dot)}{rest}"


class ConfigError(UserError):
    """The configuration is not valid. The message has one line for each fault."""


class DataError(UserError):
    """A data file is missing, damaged, or not in the format of its source."""


class ModelError(UserError):
    """Weights or a tokenizer are missing, damaged, or do not match."""


class DependencyError(UserError):
    """A package that is needed is not installed. The message has the command that installs it."""


class ArtifactError(UserError):
    """A folder is not an artifact, or one could not be written."""


class QuantizationError(UserError):
    """A model cannot be quantized as configured."""


class PruningError(UserError):
    """A model cannot be pruned as configured."""


class SweepError(UserError):
    """A sweep ended without a usable trial."""

    exit_code = 1


class PushError(UserError):
    """The hub did not accept an artifact, which stays on disk."""

    exit_code = 1


class ProcessError(UserError):
    """A DDP worker exited before training ended."""

    exit_code = 1


class Interrupted(UserError):
    """Ctrl-C or SIGTERM; the message says how to resume."""

    exit_code = 130


def near(word: str, candidates: Iterable[str]) -> str:
    """A hint `; did you mean 'x'?` for a misspelt word; empty if no candidate is similar."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class name if it has none; messages of Arrow have many lines."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def kind_and_message(error: BaseException) -> str:
    """The name of the error's class and the beginning of its message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
