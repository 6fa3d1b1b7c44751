"""Rows of CSV and TSV files, whose cells are text."""

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BufferedReader
from itertools import chain
from typing import NamedTuple

from chirplet.data.table.columns import column_names
from chirplet.data.table.dialect import DELIMITERS, QUOTE, Dialect
from chirplet.data.table.text_io import FIELD_LIMIT, Lines, decode_mixed
from chirplet.system.error import DataError, Key

logger = logging.getLogger(__name__)

DEFAULT_DELIMITER = {"csv": ",", "tsv": "\t"}


class TextRow(NamedTuple):
    """A row: its number from 1 without the header, a cell for each column, and the positions of cells whose bytes were
    not UTF-8 (encoding `mixed` only)."""

    number: int
    cells: list[str]
    redecoded: frozenset[int] = frozenset()


@dataclass(frozen=True)
class TextTable:
    """An open file whose cells are text.

    Attributes:
        name: the file, for messages.
        header: its first row, if that has the columns' names.
        columns: a different name for each column; see `column_names`.
        dialect: how it is written, with its format and delimiter.
        rows: its rows, which can be iterated once.
    """

    name: str
    header: list[str] | None
    columns: list[str]
    dialect: Dialect
    rows: Iterator[TextRow]


def open_delimited(stream: BufferedReader, name: str, dialect: Dialect, wanted: Sequence[str]) -> TextTable:
    """Read the header, and find the delimiter with which the wanted columns exist, if there is one.

    Raises:
        DataError: the file is empty or damaged; damaged rows raise when they are read.
    """
    records = _Records(stream, name, dialect, wanted)
    first = records.next(0 if dialect.header else 1)
    if first is None:
        raise DataError(f"{name}: is empty, should have {'a header and rows' if dialect.header else 'rows'}")
    header, _ = records.decoded(first)
    columns = column_names(header) if dialect.header else list(map(str, range(len(first))))
    rows = _rows(records, columns, header if dialect.header else [], [] if dialect.header else [first])
    return TextTable(name, header if dialect.header else None, columns, records.dialect, rows)


def text_table(name: str, records: Iterator[list[str]], dialect: Dialect) -> TextTable:
    """A table of records that all have as many cells, the first of which is the header if the dialect has one.

    Raises:
        DataError: there is no record.
    """
    first = next(records, None)
    if first is None:
        raise DataError(f"{name}: is empty, should have rows")
    columns = column_names(first) if dialect.header else list(map(str, range(len(first))))
    rest = records if dialect.header else chain([first], records)
    rows = (TextRow(number, cells) for number, cells in enumerate(rest, start=1))
    return TextTable(name, first if dialect.header else None, columns, dialect, rows)


class _Records:
    """The records of a file that are not blank lines; errors name the row and line."""

    def __init__(self, stream: BufferedReader, name: str, dialect: Dialect, wanted: Sequence[str]) -> None:
        # The limit is a global state of the module, by default 131,072.
        csv.field_size_limit(FIELD_LIMIT)
        self.name = name
        self.lines = Lines(stream, dialect.encoding)
        self._iterator = iter(self.lines)
        self._backslashes = False
        assert dialect.format is not None
        default = DEFAULT_DELIMITER[dialect.format]
        head = self._head(0 if dialect.header else 1)
        self.dialect = dialect
        if dialect.delimiter is None:
            self.dialect = replace(dialect, delimiter=self._detected(head, default, wanted))
            if self.dialect.delimiter != default:
                _report(f"{name}: the delimiter is {self.dialect.delimiter!r}")
        self._reader = _reader(self._fed(head), self.dialect)

    def next(self, number: int) -> list[str] | None:
        """The next record, which is row `number`, or the header for 0; None at the end.

        Raises:
            DataError: it is damaged.
        """
        self._backslashes = False
        try:
            return next(filter(None, self._reader), None)
        except csv.Error as error:
            reason = str(error)
            if "field limit" in reason:
                reason = f"a field of more than {FIELD_LIMIT:,} characters, which is not a tweet"
            where = f"{self._row(number)} (up to line {self.lines.number}): {reason}"
            quotes = "an unclosed quote? set ", Key("data.quoted"), "=false if quotes are plain text here"
            raise DataError(f"{where}; ", *(self._hint_at_escape() or quotes)) from None
        except DataError as error:
            raise error.behind(f"{self._row(number)}, ") from None

    def decoded(self, record: list[str]) -> tuple[list[str], frozenset[int]]:
        """The cells as text, and the positions of those whose bytes were not UTF-8."""
        if not self.lines.mixed:
            return record, frozenset()
        decoded = [decode_mixed(cell) for cell in record]
        return [text for text, _ in decoded], frozenset(i for i, (_, changed) in enumerate(decoded) if changed)

    def hint_at_fields(self) -> tuple[str, ...]:
        """What may be wrong if the last record has too many or too few fields."""
        delimiter = self.dialect.delimiter
        return self._hint_at_escape() or (
            f"a {delimiter!r} or quote that is not quoted? another delimiter? set ",
            Key("data.delimiter"),
            " if so",
        )

    def _hint_at_escape(self) -> tuple[str, ...]:
        if not self._backslashes or self.dialect.escape is not None:
            return ()
        return "a quote behind a backslash? set ", Key("data.escape"), "=backslash if that escapes it"

    def _head(self, number: int) -> str:
        """The first line that is not blank; empty at the end."""
        try:
            return next((line for line in self._iterator if line.strip("\r\n")), "")
        except DataError as error:
            raise error.behind(f"{self._row(number)}, ") from None

    def _row(self, number: int) -> str:
        return f"{self.name} row {number}" if number else f"{self.name} header"

    def _detected(self, head: str, default: str, wanted: Sequence[str]) -> str:
        """The first delimiter with which the first line has the wanted columns, else the one with most columns."""
        widths: dict[str, int] = {}
        for delimiter in dict.fromkeys([default, *DELIMITERS.values()]):
            # Not strict, because a cell of the header may go on in the next line.
            record = next(_reader(iter([head]), replace(self.dialect, delimiter=delimiter), strict=False), [])
            names = column_names(self.decoded(record)[0]) if self.dialect.header else map(str, range(len(record)))
            if {*wanted} <= {*names}:
                return delimiter
            widths[delimiter] = len(record)
        return max(widths, key=lambda delimiter: widths[delimiter])

    def _fed(self, head: str) -> Iterator[str]:
        for line in chain([head] if head else [], self._iterator):
            self._backslashes = self._backslashes or '\\"' in line
            yield line if self.dialect.escape is None else _without_lone_escapes(line, self.dialect)


def _reader(lines: Iterator[str], dialect: Dialect, strict: bool = True) -> Iterator[list[str]]:
    return csv.reader(
        lines,
        delimiter=dialect.delimiter or ",",
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        escapechar=dialect.escape,
        strict=strict,
    )


def _without_lone_escapes(line: str, dialect: Dialect) -> str:
    r"""Double each escape character that escapes nothing, which Python's reader would drop (`\o/` would be `o/`)."""
    assert dialect.escape is not None
    if dialect.escape not in line:
        return line
    return _escapes(dialect).sub(lambda match: match[1] or 2 * match[0], line)


@cache
def _escapes(dialect: Dialect) -> re.Pattern[str]:
    """An escape character, and as group 1 also what it escapes, if it does."""
    escape, delimiter = re.escape(dialect.escape or ""), re.escape(dialect.delimiter or "")
    return re.compile(f"({escape}[{escape}{QUOTE}{delimiter}\r\n])|{escape}")


def _rows(
    records: _Records, columns: list[str], header: Sequence[str], first: Sequence[list[str]]
) -> Iterator[TextRow]:
    named = max((position + 1 for position, cell in enumerate(header) if cell.strip()), default=len(columns))
    pending, number = list(first), 1
    while (record := pending.pop() if pending else records.next(number)) is not None:
        if len(record) != len(columns):
            if not (len(record) >= named and not any(record[len(columns) :])):
                raise DataError(
                    f"{records.name} row {number} (line {records.lines.number}): got {len(record)} fields, should be "
                    f"{len(columns)} ({', '.join(columns)}); ",
                    *records.hint_at_fields(),
                )
            # Spreadsheets leave out empty cells at the end of a row, or add some.
            record = (record + [""] * len(columns))[: len(columns)]
        yield TextRow(number, *records.decoded(record))
        number += 1


@cache
def _report(message: str) -> None:
    """Report it once: predict opens each of several files twice."""
    logger.info(message)
