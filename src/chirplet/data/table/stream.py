"""Stream table files in chunks that can be written with additional columns and unchanged values.

`read_table` reads the wanted columns for training; this module is for input that is written again. Values are preserved
as far as the format allows: Parquet keeps its types, and JSONL the exact characters of each line.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chirplet.data.table.cell import cell_text
from chirplet.data.table.chunk import Chunk, JsonChunk, TableChunk, TextChunk
from chirplet.data.table.columns import check_columns, check_unused
from chirplet.data.table.delimited import TextTable
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.files import format_of, name_of, open_bytes
from chirplet.data.table.json_lines import json_objects
from chirplet.data.table.reader import checked_encoding, open_text
from chirplet.system.error import DataError, Key

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
TEXT_COLUMN = Key("data.text_column")


@dataclass(frozen=True)
class ChunkedFile:
    """Open files whose chunks can be read once.

    Attributes:
        name: the first file, for messages.
        dialect: how it is written, with its format and delimiter.
        header: the first row of CSV, TSV and Excel, if it has the columns' names.
        columns: names of the columns; empty for JSONL that is written as JSONL.
        schema: their types; None where all are text.
        chunks: their rows.
    """

    name: str
    dialect: Dialect
    header: list[str] | None
    columns: list[str]
    schema: "pa.Schema | None"
    chunks: Iterator[Chunk]


@dataclass(frozen=True)
class _Wanted:
    """What all files must have: a column of texts, no reserved names, and `rows` per chunk."""

    text_columns: Sequence[str]
    reserved: Sequence[str]
    rows: int

    @property
    def text_column(self) -> str:
        return self.text_columns[0]

    def of(self, columns: Sequence[str]) -> "_Wanted":
        """What a file with these columns must have: the first of the `text_columns` that it has."""
        present = next((column for column in self.text_columns if column in columns), self.text_column)
        return replace(self, text_columns=[present])

    def check(self, name: str, columns: Sequence[str], header: Sequence[str] = ()) -> None:
        check_columns(name, [self.text_column], columns, header, TEXT_COLUMN)
        check_unused(name, columns, self.reserved, Key("stage.prefix"))


@contextmanager
def open_chunks(
    files: Sequence[str], dialect: Dialect, texts: Sequence[str], reserved: Sequence[str], rows: int, as_table: bool
) -> Iterator[ChunkedFile]:
    """Open table files of one format for streaming with constant memory, one after the other.

    Args:
        files: the files, or `-` for standard input.
        dialect: how they are written.
        texts: names of the column of texts; the first that a file has counts.
        reserved: names that no column may have.
        rows: rows per chunk.
        as_table: whether the rows become a table (CSV, TSV, Parquet). JSONL is then read twice, first for its keys.

    Raises:
        DataError: there is no such file or column, a column has a reserved name, the columns of tables differ, or a
            file is damaged; damaged rows raise when their chunk is read.
        DependencyError: pyarrow is needed and not installed: for Parquet, and for the columns of JSONL.
    """
    dialect = replace(dialect, format=format_of(files[0], dialect.format))
    wanted = _Wanted(texts, reserved, rows)
    try:
        with ExitStack() as resources:
            twice = as_table and dialect.format == "jsonl"
            places = [resources.enter_context(_rereadable(file, twice)) for file in files]
            schema = _json_schema(places, files, dialect, rows) if twice else None
            named = list(zip(places, map(name_of, files), strict=True))
            first = resources.enter_context(_opened(*named[0], dialect, wanted, schema))
            for place, name in named[1:]:
                with _opened(place, name, dialect, wanted, schema) as other:
                    _check_same(first, other)
            yield replace(first, chunks=chain(first.chunks, _rest(named[1:], dialect, wanted, schema)))
    except DataError as error:
        # The readers are shared with data sources and name their keys.
        raise error.renamed({"data.": "stage."}) from None


@contextmanager
def _rereadable(file: str, twice: bool) -> Iterator[str]:
    """The file, or a temporary copy of a pipe that must be read twice."""
    if not twice or Path(file).is_file():
        yield file
        return
    with open_bytes(file) as stream, tempfile.NamedTemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name


@contextmanager
def _opened(
    place: str, name: str, dialect: Dialect, wanted: _Wanted, schema: "pa.Schema | None"
) -> Iterator[ChunkedFile]:
    with open_bytes(place) as stream:
        if dialect.format == "parquet":
            yield _parquet_chunks(stream, name, dialect, wanted)
        elif dialect.format == "jsonl":
            chunks = _json_chunks(stream, name, dialect, wanted, schema)
            columns = [] if schema is None else schema.names
            yield ChunkedFile(name, dialect, None, columns, schema, chain([next(chunks)], chunks))
        else:
            table = open_text(stream, name, dialect, [wanted.text_column])
            wanted = wanted.of(table.columns)
            wanted.check(name, table.columns, table.header or ())
            yield _text_chunks(table, wanted)


def _rest(
    files: Iterable[tuple[str, str]], dialect: Dialect, wanted: _Wanted, schema: "pa.Schema | None"
) -> Iterator[Chunk]:
    for place, name in files:
        with _opened(place, name, dialect, wanted, schema) as file:
            yield from file.chunks


def _check_same(first: ChunkedFile, other: ChunkedFile) -> None:
    if first.header != other.header or first.columns != other.columns:
        one, two = (", ".join(map(repr, file.columns)) for file in (first, other))
        raise DataError(f"{other.name}: has the columns {two}, {first.name} has {one}")


def _text_chunks(table: TextTable, wanted: _Wanted) -> ChunkedFile:
    position = table.columns.index(wanted.text_column)
    batches = _batched((row.cells for row in table.rows), wanted.rows)
    chunks = (TextChunk([cells[position] for cells in rows], table.columns, rows) for rows in batches)
    return ChunkedFile(table.name, table.dialect, table.header, table.columns, None, chunks)


def _parquet_chunks(stream: BufferedReader, name: str, dialect: Dialect, wanted: _Wanted) -> ChunkedFile:
    from chirplet.data.table.parquet import open_parquet, parquet_batches

    file = open_parquet(stream, name)
    schema = file.schema_arrow
    wanted = wanted.of(schema.names)
    wanted.check(name, schema.names, schema.names)
    if len(set(schema.names)) < len(schema.names):
        raise DataError(f"{name}: two columns have the same name; rename one")

    def chunks() -> Iterator[Chunk]:
        number = 0
        for batch, values in parquet_batches(file, name, wanted.rows, [wanted.text_column], others=True):
            rows = enumerate((cells[wanted.text_column] for cells in values), start=number + 1)
            yield TableChunk([_text(text, name, row, wanted) for row, text in rows], batch)
            number += len(values)

    return ChunkedFile(name, dialect, None, schema.names, schema, chunks())


def _json_chunks(
    stream: BufferedReader, name: str, dialect: Dialect, wanted: _Wanted, schema: "pa.Schema | None"
) -> Iterator[Chunk]:
    parsed = enumerate(json_objects(stream, checked_encoding(dialect, name), name), start=1)
    for rows in _batched(parsed, wanted.rows):
        wanted = wanted.of(list(rows[0][1][1]))  # of the first row: afterwards there is one name
        for number, (_, row) in rows:
            if number > 1 and wanted.text_column not in row:
                raise DataError(f"{name} row {number}: no {wanted.text_column!r}; give it null where there is no text")
            wanted.check(f"{name} row {number}", list(row))
        texts = [_text(row[wanted.text_column], name, number, wanted) for number, (_, row) in rows]
        yield JsonChunk(texts, name, schema, [line for _, (line, _) in rows], [row for _, (_, row) in rows])


def _json_schema(places: Sequence[str], files: Sequence[str], dialect: Dialect, rows: int) -> "pa.Schema":
    from chirplet.data.table.json_schema import json_schema

    def chunks() -> Iterator[list[dict[str, Any]]]:
        for place, file in zip(places, files, strict=True):
            with open_bytes(place) as stream:
                parsed = json_objects(stream, checked_encoding(dialect, name_of(file)), name_of(file))
                yield from _batched((row for _, row in parsed), rows)

    return json_schema(chunks())


def _text(value: Any, name: str, number: int, wanted: _Wanted) -> str:
    # JSONL may have half characters, which it keeps.
    return value if isinstance(value, str) else cell_text(value, f"{name} row {number}: {wanted.text_column!r}")


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
