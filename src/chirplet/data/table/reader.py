"""Stream the rows of table files with constant memory.

A damaged file raises an error of one line that names the row.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from chirplet.data.table.json_lines import json_objects
from chirplet.data.table.parquet import open_parquet, parquet_batches
from chirplet.data.table.text_io import FIELD_LIMIT, STDIN, Lines, check_encoding, decode_mixed, open_bytes
from chirplet.system.error import DataError, Key, near

if TYPE_CHECKING:
    from _csv import Reader

Format = Literal["csv", "tsv", "parquet", "jsonl"]
FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row: number (from 1, without the header), cells by column, and the columns whose bytes were not UTF-8
    (encoding `mixed` only)."""

    number: int
    cells: dict[str, Any]
    redecoded: frozenset[str] = frozenset()


class Table:
    """The columns of a file, and its rows, which can be iterated once. A context manager that closes the file."""

    def __init__(self, name: str, columns: list[str], rows: Iterator[Row], resources: ExitStack) -> None:
        self.name = name
        self.columns = columns
        self._rows = rows
        self._resources = resources
        twice = [column for column, count in Counter(columns).items() if count > 1]
        if twice:
            raise DataError(f"{name}: the header has the column {twice[0]!r} more than once; rename one")

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def require(self, *columns: str) -> None:
        """Check that these columns exist.

        Raises:
            DataError: a column is missing; the message names it, the existing columns and the most similar one.
        """
        for column in columns:
            if column not in self.columns:
                hint = near(column, self.columns)
                known = ", ".join(map(repr, self.columns))
                raise DataError(f"{self.name}: no column {column!r}{hint}; the columns are {known}")


def format_of(path: str | Path, format: Format | None = None) -> Format:  # noqa: A002
    """The format of a file: `format`, else by its suffix; standard input is CSV.

    Raises:
        DataError: the suffix is unknown.
    """
    if format is not None:
        return format
    if str(path) == STDIN:
        return "csv"
    suffix = Path(path).suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        raise DataError(
            f"{path}: got the suffix {suffix!r}, should be one of {', '.join(FORMAT_OF_SUFFIX)}; or set ",
            Key("format"),
            f" to one of {', '.join(get_args(Format))}",
        )
    return FORMAT_OF_SUFFIX[suffix]


def name_of(path: str | Path) -> str:
    """The file's name in messages."""
    return "standard input" if str(path) == STDIN else str(path)


def read_table(
    path: str | Path,
    format: Format | None = None,  # noqa: A002
    encoding: str = "utf-8",
    quoted: bool = True,
) -> Table:
    """Open a table file and read its header.

    Args:
        path: the file, or `-` for standard input.
        format: format of the file; None takes it from the suffix.
        encoding: encoding of CSV, TSV and JSONL; `mixed` detects it for each cell of CSV and TSV.
        quoted: whether cells of CSV and TSV may be in double quotes; if not, a quote is an ordinary character.

    Returns:
        A table whose cells are text (CSV, TSV) or typed values (Parquet, JSONL).

    Raises:
        DataError: the file does not exist, is empty or damaged; damaged rows raise when they are read.
    """
    kind = format_of(path, format)
    name = name_of(path)
    with ExitStack() as resources:
        stream = resources.enter_context(open_bytes(path))
        if kind == "parquet":
            columns, rows = _open_parquet(stream, name)
        elif kind == "jsonl":
            columns, rows = _open_json(stream, _checked(encoding, name), name)
        else:
            columns, rows = _open_delimited(Lines(stream, _checked(encoding, name)), name, kind, quoted)
        return Table(name, columns, rows, resources.pop_all())


_Opened = tuple[list[str], Iterator[Row]]


def _checked(encoding: str, name: str) -> str:
    try:
        return check_encoding(encoding)
    except ValueError as error:
        raise DataError(f"{name}: encoding: {error}") from None


def _open_delimited(lines: Lines, name: str, kind: Format, quoted: bool) -> _Opened:
    # The limit is a global state of the module, by default 131,072.
    csv.field_size_limit(FIELD_LIMIT)
    records = csv.reader(
        iter(lines),
        delimiter="\t" if kind == "tsv" else ",",
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    header = _record(records, name, 0)
    if header is None:
        raise DataError(f"{name}: is empty, should have a header and rows")
    columns = [decode_mixed(cell)[0] for cell in header] if lines.mixed else header
    return columns, _delimited_rows(records, name, columns, lines.mixed)


def _record(records: "Reader", name: str, number: int) -> list[str] | None:
    """The next record that is not a blank line; None at the end."""
    row = f"{name} row {number}" if number else f"{name} header"
    try:
        return next(filter(None, records), None)
    except csv.Error as error:
        reason = str(error)
        if "field limit" in reason:
            reason = f"a field of more than {FIELD_LIMIT:,} characters, which is not a tweet"
        raise DataError(
            f"{row} (up to line {records.line_num}): {reason}; an unclosed quote? set ",
            Key("data.quoted"),
            "=false if quotes are plain text here",
        ) from None
    except DataError as error:
        raise error.behind(f"{row}, ") from None


def _delimited_rows(records: "Reader", name: str, columns: list[str], mixed: bool) -> Iterator[Row]:
    number = 1
    while (record := _record(records, name, number)) is not None:
        if len(record) != len(columns):
            raise DataError(
                f"{name} row {number} (line {records.line_num}): got {len(record)} fields, should be "
                f"{len(columns)} ({', '.join(columns)}); a comma, tab or quote that is not quoted?"
            )
        if mixed:
            decoded = [decode_mixed(cell) for cell in record]
            redecoded = frozenset(column for column, (_, changed) in zip(columns, decoded, strict=True) if changed)
            yield Row(number, dict(zip(columns, (text for text, _ in decoded), strict=True)), redecoded)
        else:
            yield Row(number, dict(zip(columns, record, strict=True)))
        number += 1


def _open_json(stream: BufferedReader, encoding: str, name: str) -> _Opened:
    objects = enumerate(json_objects(stream, encoding, name), start=1)
    _, (_, first) = head = next(objects)
    columns = list(first)

    def rows() -> Iterator[Row]:
        for number, (_, cells) in chain([head], objects):
            _check_cells(cells, name, number)
            extra = next((key for key in cells if key not in first), None)
            if extra is not None:
                raise DataError(
                    f"{name} row {number}: the key {extra!r} is not in the first row{near(extra, columns)}; "
                    f"its keys are {', '.join(map(repr, columns))}"
                )
            yield Row(number, {column: cells.get(column) for column in columns})

    return columns, rows()


def _open_parquet(stream: BufferedReader, name: str) -> _Opened:

    file = open_parquet(stream, name)
    columns = list(file.schema_arrow.names)

    def rows() -> Iterator[Row]:
        batches = parquet_batches(file, name, _BATCH_ROWS, columns)
        for number, cells in enumerate(chain.from_iterable(cells for _, cells in batches), start=1):
            _check_cells(cells, name, number)
            yield Row(number, cells)

    return columns, rows()


def _check_cells(cells: dict[str, Any], name: str, number: int) -> None:
    for column, value in cells.items():
        if not isinstance(value, str) or (value.isascii() and len(value) <= FIELD_LIMIT):
            continue
        if len(value) > FIELD_LIMIT:
            raise DataError(
                f"{name} row {number}: {column!r} has {len(value):,} characters, should be at most {FIELD_LIMIT:,}"
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(value[error.start]):04x}"
            raise DataError(
                f"{name} row {number}: {column!r} has a lone surrogate ({half}, half of an emoji?)"
            ) from None
