"""Text that others wrote, made harmless where it is shown: on a terminal, in Markdown, in a spreadsheet.

Labels, names of runs and folders, and texts come from files, from records and from the hub. None of it may move a
terminal's cursor, fetch an image from a stranger's server, or be computed as a formula.
"""

import logging
import re
from typing import Any

_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and newline, those that turn the direction of writing, and halves of characters."""

_MARKUP = re.compile(r"[\\`*\[\]!|<>&~$]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {sign: f"&#{ord(sign)};" for sign in "~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
"""Signs that not every renderer takes back to themselves behind a backslash."""

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def terminal(text: str) -> str:
    r"""The text with control characters spelled out: a terminal shows `\x1b` and does nothing."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def markdown(text: Any) -> str:
    """The text for a line or a table's cell of Markdown: it reads as it was written and is no link, image or HTML."""
    line = " ".join(terminal(str(text)).split())
    return _MARKUP.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), line)


def code_span(text: Any) -> str:
    """The text as code in a line of Markdown, whatever backticks it has."""
    line = " ".join(terminal(str(text)).split())
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def csv_cell(value: Any) -> Any:
    """The value for a cell of CSV; a text that a spreadsheet would compute has an apostrophe before it.

    Numbers, and texts that are one, stay as they are.
    """
    computed = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if computed else value


class TerminalFormatter(logging.Formatter):
    """What is logged, as `terminal` has it."""

    def format(self, record: logging.LogRecord) -> str:
        return terminal(super().format(record))
