"""Write rows of text as CSV or TSV."""

import re
from collections.abc import Sequence
from typing import BinaryIO

from chirplet.data.table.dialect import Dialect
from chirplet.system.error import DataError, Key


class RowWriter:
    """Writes rows to a byte stream as UTF-8. Cells are quoted if necessary, so that a reader gets the same values.

    Python's csv.writer does not quote a lone carriage return, which readers take for the end of the row.
    """

    def __init__(self, stream: BinaryIO, dialect: Dialect) -> None:
        self._stream = stream
        self._delimiter = dialect.delimiter or ","
        self._special = {self._delimiter, "\r", "\n"} | ({'"'} if dialect.quoted else set())
        self._quoted = dialect.quoted
        self._escape = dialect.escape
        if self._escape is not None:
            escape, delimiter = re.escape(self._escape), re.escape(self._delimiter)
            # Before a quote, before another one, and before what would end the cell without quotes.
            self._escaped = re.compile(f'{escape}(?=[{escape}"{delimiter}\r\n]|$)|"')

    def write(self, cells: Sequence[str]) -> None:
        """Append a row.

        Raises:
            DataError: a cell would need quotes, which the dialect does not have.
        """
        line = self._delimiter.join(map(self._cell, cells))
        # A row of one empty cell would be a blank line, which readers skip.
        self._stream.write(((line or '""') + "\n").encode())

    def _cell(self, cell: str) -> str:
        special = not self._special.isdisjoint(cell)
        if special and not self._quoted:
            raise DataError(
                f"output: {cell[:40]!r} cannot be written without quotes; set ", Key("stage.quoted"), "=true"
            )
        if self._escape is not None:
            cell = self._escaped.sub(lambda match: f"{self._escape}{match[0]}", cell)
        elif special:
            cell = cell.replace('"', '""')
        return f'"{cell}"' if special else cell
