"""Stream the wanted columns of table files with constant memory.

A damaged file raises an error of one line that names the row. Other columns may have any names, types and keys.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chirplet.data.table.cell import cell_text
from chirplet.data.table.columns import check_columns
from chirplet.data.table.delimited import TextTable, open_delimited
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.excel import open_excel
from chirplet.data.table.files import format_of, name_of, open_bytes
from chirplet.data.table.json_lines import json_objects
from chirplet.data.table.text_io import check_encoding
from chirplet.system.error import DataError

_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row: number (from 1, without the header), the wanted cells by column, and the columns whose bytes were not
    UTF-8 (encoding `mixed` only)."""

    number: int
    cells: dict[str, Any]
    redecoded: frozenset[str] = frozenset()


class Table:
    """The rows of a file, which can be iterated once. A context manager that closes the file."""

    def __init__(self, name: str, rows: Iterator[Row], resources: ExitStack) -> None:
        self.name = name
        self._rows = rows
        self._resources = resources

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def text(self, row: Row, column: str) -> str:
        """The text of a row's cell; a null is empty.

        Raises:
            DataError: the cell is a list, an object or bytes.
        """
        return cell_text(row.cells[column], f"{self.name} row {row.number}: {column!r}")


def read_table(path: str | Path, columns: Sequence[str], dialect: Dialect | None = None) -> Table:
    """Open a table file and check that it has these columns.

    Args:
        path: the file, or `-` for standard input.
        columns: the wanted columns.
        dialect: how the file is written.

    Returns:
        A table whose cells are text (CSV, TSV, Excel) or typed values (Parquet, JSONL). A key that a row of JSONL lacks
        is a null; the first row should have all.

    Raises:
        DataError: the file does not exist, is empty or damaged, or lacks a column; damaged rows raise when they are
            read.
        DependencyError: the file is Parquet, and pyarrow is not installed.
    """
    dialect = Dialect() if dialect is None else dialect
    dialect = replace(dialect, format=format_of(path, dialect.format))
    name = name_of(path)
    with ExitStack() as resources:
        stream = resources.enter_context(open_bytes(path))
        if dialect.format == "parquet":
            rows = _parquet_rows(stream, name, columns)
        elif dialect.format == "jsonl":
            rows = _json_rows(stream, checked_encoding(dialect, name), name, columns)
        else:
            table = open_text(stream, name, dialect, columns)
            check_columns(name, columns, table.columns, table.header or ())
            rows = _text_rows(table, columns)
        return Table(name, rows, resources.pop_all())


def open_text(stream: BufferedReader, name: str, dialect: Dialect, columns: Sequence[str]) -> TextTable:
    """Open a CSV, TSV or Excel file; `dialect` has its format. The delimiter is found by the wanted columns.

    Raises:
        DataError: the file is empty or damaged.
    """
    if dialect.format == "excel":
        return open_excel(stream, name, dialect)
    checked_encoding(dialect, name)
    return open_delimited(stream, name, dialect, columns)


def checked_encoding(dialect: Dialect, name: str) -> str:
    """The dialect's encoding.

    Raises:
        DataError: Python does not know it.
    """
    try:
        return check_encoding(dialect.encoding)
    except ValueError as error:
        raise DataError(f"{name}: encoding: {error}") from None


def _text_rows(table: TextTable, columns: Sequence[str]) -> Iterator[Row]:
    positions = {column: table.columns.index(column) for column in columns}
    for number, cells, redecoded in table.rows:
        changed = frozenset(column for column, position in positions.items() if position in redecoded)
        yield Row(number, {column: cells[position] for column, position in positions.items()}, changed)


def _json_rows(stream: BufferedReader, encoding: str, name: str, columns: Sequence[str]) -> Iterator[Row]:
    objects = enumerate(json_objects(stream, encoding, name), start=1)
    _, (_, first) = head = next(objects)
    check_columns(name, columns, list(first))
    return (
        Row(number, {column: cells.get(column) for column in columns}) for number, (_, cells) in chain([head], objects)
    )


def _parquet_rows(stream: BufferedReader, name: str, columns: Sequence[str]) -> Iterator[Row]:
    from chirplet.data.table.parquet import open_parquet, parquet_batches

    file = open_parquet(stream, name)
    names = file.schema_arrow.names
    check_columns(name, columns, names, names)
    batches = parquet_batches(file, name, _BATCH_ROWS, columns, others=False)
    values = chain.from_iterable(cells for _, cells in batches)
    return (Row(number, cells) for number, cells in enumerate(values, start=1))
