"""Rows of table files, streamed: memory stays flat however large the file.

What `Lines` promises for bytes holds here for rows: a damaged file is refused in one line that names the row.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from chirplet.data.table.text_io import FIELD_LIMIT, MIXED, STDIN, Lines, check_encoding, decode_mixed, open_bytes
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
    """One row: its number (from 1, the header left out), its cells by column, and the columns whose bytes were
    no UTF-8 (encoding `mixed` only)."""

    number: int
    cells: dict[str, Any]
    redecoded: frozenset[str] = frozenset()


class Table:
    """The columns of a file, and its rows, which can be gone through once. A context manager: it holds the file."""

    def __init__(self, name: str, columns: list[str], rows: Iterator[Row], resources: ExitStack) -> None:
        self.name = name
        self.columns = columns
        self._rows = rows
        self._resources = resources
        twice = [column for column, count in Counter(columns).items() if count > 1]
        if twice:
            raise DataError(f"{name}: the column {twice[0]!r} stands in the header more than once; rename one")

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def require(self, *columns: str) -> None:
        """Check that these columns are there.

        Raises:
            DataError: one is not; names it, what is there, and the nearest name.
        """
        for column in columns:
            if column not in self.columns:
                hint = near(column, self.columns)
                known = ", ".join(map(repr, self.columns))
                raise DataError(f"{self.name}: no column {column!r}{hint}; the columns are {known}")


def format_of(path: str | Path, format: Format | None = None) -> Format:  # noqa: A002
    """The format of a file, by its suffix where none is given; standard input is CSV.

    Raises:
        DataError: the suffix says nothing.
    """
    if format is not None:
        return format
    if str(path) == STDIN:
        return "csv"
    suffix = Path(path).suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        raise DataError(
            f"{path}: cannot tell the format from the suffix {suffix!r}; "
            f"should be one of {', '.join(FORMAT_OF_SUFFIX)}, or set ",
            Key("format"),
            f" to one of {', '.join(get_args(Format))}",
        )
    return FORMAT_OF_SUFFIX[suffix]


def read_table(
    path: str | Path,
    format: Format | None = None,  # noqa: A002
    encoding: str = "utf-8",
    quoted: bool = True,
) -> Table:
    """Open a table file, read its header, and stand ready to stream its rows.

    Args:
        path: the file, or `-` for standard input.
        format: null takes it from the suffix.
        encoding: of CSV, TSV and JSONL; `mixed` decodes each cell of a CSV or TSV for itself.
        quoted: whether cells of CSV and TSV may stand in double quotes; if not, a quote is a character like others.

    Returns:
        A table whose cells are text (CSV, TSV) or the file's own values (Parquet, JSONL).

    Raises:
        DataError: there is no such file, it is empty or damaged; while rows are read, for the rows.
    """
    kind = format_of(path, format)
    name = "standard input" if str(path) == STDIN else str(path)
    with ExitStack() as resources:
        stream = resources.enter_context(open_bytes(path))
        if kind == "parquet":
            columns, rows = _open_parquet(stream, name)
        elif kind == "jsonl":
            columns, rows = _open_json(Lines(stream, _checked(encoding, kind, name)), name)
        else:
            lines = Lines(stream, _checked(encoding, kind, name))
            columns, rows = _open_delimited(lines, name, kind, quoted)
        return Table(name, columns, rows, resources.pop_all())


def read_rows(
    path: str | Path,
    format: Format | None = None,  # noqa: A002
    encoding: str = "utf-8",
    quoted: bool = True,
) -> Iterator[dict[str, Any]]:
    """Only the cells of each row; for the arguments see `read_table`."""
    with read_table(path, format, encoding, quoted) as table:
        for row in table:
            yield row.cells


_Opened = tuple[list[str], Iterator[Row]]


def _checked(encoding: str, kind: Format, name: str) -> str:
    if encoding == MIXED and kind == "jsonl":
        raise DataError(f"{name}: encoding {MIXED} is for CSV and TSV; JSONL is UTF-8")
    try:
        return check_encoding(encoding)
    except ValueError as error:
        raise DataError(f"{name}: encoding: {error}") from None


def _open_delimited(lines: Lines, name: str, kind: Format, quoted: bool) -> _Opened:
    # The module's own limit of 131,072 is too small for nothing, but its state is global, so it is set for all.
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
    place = f"{name} row {number}" if number else f"{name} header"
    try:
        return next(filter(None, records), None)
    except csv.Error as error:
        reason = str(error)
        if "field limit" in reason:
            reason = f"a field of more than {FIELD_LIMIT:,} characters; not a tweet"
        raise DataError(
            f"{place} (up to line {records.line_num}): {reason}; an unclosed quote? set ",
            Key("data.quoted"),
            "=false if quotes are plain text here",
        ) from None
    except DataError as error:
        raise error.behind(f"{place}, ") from None


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


def _open_json(lines: Lines, name: str) -> _Opened:
    objects = _objects(iter(lines), name)
    first = next(objects, None)
    if first is None:
        raise DataError(f"{name}: is empty, should have one JSON object a line")
    columns = list(first)

    def rows() -> Iterator[Row]:
        yield Row(1, first)
        for number, cells in enumerate(objects, start=2):
            extra = next((key for key in cells if key not in first), None)
            if extra is not None:
                raise DataError(
                    f"{name} row {number}: the key {extra!r} is not in the first row{near(extra, columns)}; "
                    f"its keys are {', '.join(map(repr, columns))}"
                )
            yield Row(number, {column: cells.get(column) for column in columns})

    return columns, rows()


def _line(lines: Iterator[str], name: str, number: int) -> str | None:
    """The next line that is not blank; None at the end."""
    try:
        return next((line for line in lines if line.strip()), None)
    except DataError as error:
        raise error.behind(f"{name} row {number}, ") from None


def _objects(lines: Iterator[str], name: str) -> Iterator[dict[str, Any]]:
    number = 0
    while (line := _line(lines, name, number + 1)) is not None:
        number += 1
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{name} row {number}: not valid JSON ({error.msg}, column {error.colno})") from None
        except (ValueError, RecursionError):
            raise DataError(f"{name} row {number}: JSON that is nested too deeply, or a number too long") from None
        if not isinstance(value, dict):
            raise DataError(f"{name} row {number}: got {type(value).__name__}, should be a JSON object")
        _check_cells(value, name, number)
        yield value


def _open_parquet(stream: BufferedReader, name: str) -> _Opened:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    if not stream.seekable():
        raise DataError(f"{name}: Parquet is read from its end and needs a file")
    try:
        file = parquet.ParquetFile(stream)
    except arrow.ArrowException as error:
        raise DataError(f"{name}: not a Parquet file ({_first_line(error)})") from None

    def rows() -> Iterator[Row]:
        number = 0
        try:
            for batch in file.iter_batches(_BATCH_ROWS):
                for cells in batch.to_pylist():
                    number += 1
                    _check_cells(cells, name, number)
                    yield Row(number, cells)
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{name} after row {number}: damaged Parquet ({_first_line(error)})") from None

    return list(file.schema_arrow.names), rows()


def _check_cells(cells: dict[str, Any], name: str, number: int) -> None:
    for column, value in cells.items():
        if not isinstance(value, str) or (value.isascii() and len(value) <= FIELD_LIMIT):
            continue
        if len(value) > FIELD_LIMIT:
            raise DataError(
                f"{name} row {number}: {column!r} has {len(value):,} characters, more than {FIELD_LIMIT:,}; not a tweet"
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(value[error.start]):04x}"
            raise DataError(
                f"{name} row {number}: {column!r} has half a character ({half}, an emoji cut in two?)"
            ) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
