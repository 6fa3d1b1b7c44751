"""Escape untrusted text for terminals, Markdown and spreadsheets.

Labels, names of runs and folders, and texts come from files, records and the hub. They must not move a terminal's
cursor, fetch an image from a server, or be evaluated as a formula.
"""

import logging
import re
from typing import Any

_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, bidirectional controls, and lone surrogates."""

_MARKUP = re.compile(r"[\\`*\[\]!|<>&~$]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {sign: f"&#{ord(sign)};" for sign in "~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
"""Characters that some renderers do not escape by a backslash."""

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def terminal(text: str) -> str:
    r"""Escape control characters, so that a terminal shows `\x1b` instead of interpreting it."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def markdown(text: Any) -> str:
    """Escape text for a line or table cell of Markdown: it is shown literally, without links, images or HTML."""
    line = " ".join(terminal(str(text)).split())
    return _MARKUP.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), line)


def code_span(text: Any) -> str:
    """The text as a Markdown code span; it may contain backticks."""
    line = " ".join(terminal(str(text)).split())
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def csv_cell(value: Any) -> Any:
    """The value for a CSV cell; text that a spreadsheet would evaluate gets a leading apostrophe.

    Numbers, and texts that are numbers, are not changed.
    """
    formula = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if formula else value


class TerminalFormatter(logging.Formatter):
    """A formatter that escapes messages with `terminal`."""

    def format(self, record: logging.LogRecord) -> str:
        return terminal(super().format(record))
