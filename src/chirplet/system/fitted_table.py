"""Tables that fit the width of the console."""

import re
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table

from chirplet.system.escaping import terminal

NARROWEST = 8
"""Least width of the first column, in characters, for which its names are broken."""


class FittedTable(Table):
    """A table that leaves out columns rather than breaking words, and names them below.

    Headings wrap at spaces. Those `optional` columns are shown for which the console has room. If the others are still
    too wide, names in the first column are broken after a space or one of `/._,=-`. Cells are strings.
    """

    def __init__(self, title: str, optional: Sequence[str] = (), elsewhere: str = "") -> None:
        """Start a table without columns.

        Args:
            title: its title.
            optional: headings of the columns that may be left out, the most important first.
            elsewhere: the file that has all columns.
        """
        super().__init__(title=title, title_justify="left")
        self.optional = optional
        self.elsewhere = elsewhere

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = [column for column in self.columns if column.header not in self.optional]
        for heading in self.optional:
            more = [column for column in self.columns if column in shown or column.header == heading]
            if _width(more) <= options.max_width:
                shown = more
        table = Table(title=self.title, title_justify="left", caption=self._caption(shown), caption_justify="left")
        sizes = [_content(column) for column in shown]
        unwrapped = [max(size, cell_len(str(column.header))) for size, column in zip(sizes, shown, strict=True)]
        if sum(unwrapped) + 3 * len(unwrapped) + 1 <= options.max_width:
            sizes = unwrapped
        room = options.max_width - _width(shown[1:]) - 3
        fits = room >= min(sizes[0], NARROWEST)  # else all cells are folded
        sizes[0] = min(sizes[0], room) if fits else sizes[0]
        names = [_broken(str(name), sizes[0]) for name in shown[0].cells]
        for column, size in zip(shown, sizes, strict=True):
            lines = textwrap.wrap(str(column.header), size, break_long_words=False, break_on_hyphens=False)
            table.add_column("\n".join(lines), justify=column.justify, no_wrap=fits, overflow="fold")
        for row, *cells in zip(self.rows, names, *(column.cells for column in shown[1:]), strict=True):
            table.add_row(*cells, end_section=row.end_section)
        yield table

    def _caption(self, shown: Sequence[Column]) -> str | None:
        left_out = ", ".join(str(column.header) for column in self.columns if column not in shown)
        where = f"; see {self.elsewhere}" if self.elsewhere else ""
        return f"not shown for lack of width: {left_out}{where}" if left_out else None


def _width(columns: Sequence[Column]) -> int:
    """Width of a table with these columns, in characters: each has a space on both sides and a line."""
    return sum(_content(column) + 3 for column in columns) + 1


def _content(column: Column) -> int:
    """Width of a column's longest line, or of the longest word of its heading."""
    lines = [line for cell in column.cells for line in terminal(str(cell)).splitlines()]
    return max(1, *map(cell_len, [*lines, *str(column.header).split()]))


def _broken(text: str, width: int) -> str:
    """The text in lines of at most `width`, broken after a space or a sign where possible."""
    lines = [""]
    for part in re.findall(r"[^\s/._,=-]*[\s/._,=-]?", text):
        if lines[-1] and cell_len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
