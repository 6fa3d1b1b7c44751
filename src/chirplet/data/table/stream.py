"""Stream a table file in chunks that can be written with additional columns and unchanged values.

`read_table` reads tweets for training; this module is for input that is written again. Values are preserved as far as
the format allows: Parquet keeps its types, and JSONL the exact characters of each line.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from chirplet.data.table.json_lines import json_objects
from chirplet.data.table.parquet import open_parquet, parquet_batches
from chirplet.data.table.reader import Format, Row, name_of, read_table
from chirplet.data.table.text_io import open_bytes
from chirplet.system.error import DataError, first_line, near

Added = Mapping[str, Sequence[str] | Sequence[float]]
"""Columns to add to a chunk: name to one value per row."""


class Chunk(ABC):
    """Some rows of a file. `texts` are the cells of the text column, with an empty string for a null."""

    texts: list[str]

    @abstractmethod
    def batch(self) -> pa.RecordBatch:
        """The rows as Arrow columns."""

    def lines(self, added: Added) -> Iterator[str]:
        """Each row as a JSON object with the added keys last."""
        batch = self.batch()
        columns = {name: _json_values(batch.column(name)) for name in batch.schema.names}
        columns |= {name: list(values) for name, values in added.items()}
        for cells in zip(*columns.values(), strict=True):
            yield _dump(dict(zip(columns, cells, strict=True)))

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Each row as text, with an empty string for a null."""
        return zip(*(_text_values(column) for column in self.batch().columns), strict=True)


@dataclass(frozen=True)
class TableChunk(Chunk):
    """Rows of a CSV, TSV or Parquet file."""

    texts: list[str]
    table: pa.RecordBatch

    def batch(self) -> pa.RecordBatch:
        """The rows with the file's types; text if it has none."""
        return self.table


@dataclass(frozen=True)
class JsonChunk(Chunk):
    """Rows of a JSONL file: each line and its object."""

    texts: list[str]
    name: str
    columns: list[str]
    raw: list[str]
    objects: list[dict[str, Any]]

    def batch(self) -> pa.RecordBatch:
        """The values by the keys of the file's first row, with null for a missing key.

        Raises:
            DataError: a row has another key, or the values of a column have no common type.
        """
        for row in self.objects:
            extra = next((key for key in row if key not in self.columns), None)
            if extra is not None:
                raise DataError(
                    f"{self.name}: the key {extra!r} is not in the first row, so it has no column; "
                    "output_format=jsonl keeps it"
                )
        try:
            columns = [pa.array([row.get(column) for row in self.objects]) for column in self.columns]
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            reason = f"values of several types in one column ({first_line(error)})"
            raise DataError(f"{self.name}: {reason}; output_format=jsonl keeps them") from None
        return pa.record_batch(columns, names=self.columns)

    def lines(self, added: Added) -> Iterator[str]:
        """Each line with the added keys before its closing brace."""
        rows = zip(*added.values(), strict=True)
        for line, cells in zip(self.raw, rows, strict=True):
            yield f"{line[:-1].rstrip()}, {_dump(dict(zip(added, cells, strict=True)))[1:]}"


@dataclass(frozen=True)
class ChunkedFile:
    """An open file whose chunks can be read once. `schema` is None for JSONL, which has none."""

    name: str
    columns: list[str]
    schema: pa.Schema | None
    chunks: Iterator[Chunk]


@contextmanager
def open_chunks(
    path: str, kind: Format, encoding: str, quoted: bool, texts: Sequence[str], reserved: Sequence[str], rows: int
) -> Iterator[ChunkedFile]:
    """Open a table file for streaming with constant memory.

    Args:
        path: the file, or `-` for standard input.
        kind: its format.
        encoding: encoding of CSV, TSV and JSONL.
        quoted: whether cells of CSV and TSV may be in double quotes.
        texts: names of the column of texts; the first that the file has counts.
        reserved: names that no column may have.
        rows: rows per chunk.

    Raises:
        DataError: there is no such file or column, a column has a reserved name, or the file is damaged; damaged rows
            raise when their chunk is read.
    """
    try:
        if kind == "parquet":
            with open_bytes(path) as stream:
                yield _parquet_chunks(stream, name_of(path), texts, reserved, rows)
        elif kind == "jsonl":
            with open_bytes(path) as stream:
                yield _json_chunks(stream, encoding, name_of(path), texts, reserved, rows)
        else:
            with read_table(path, kind, encoding, quoted) as table:
                text_column = _first_of(texts, table.columns)
                _check_columns(table.name, table.columns, text_column, reserved)
                schema = pa.schema([(column, pa.string()) for column in table.columns])
                yield ChunkedFile(table.name, table.columns, schema, _text_chunks(table, schema, text_column, rows))
    except DataError as error:
        # The readers are shared with data sources and name their keys.
        raise error.renamed({"data.": "stage."}) from None


def _text_chunks(table: Iterable[Row], schema: pa.Schema, text_column: str, rows: int) -> Iterator[Chunk]:
    iterator = iter(table)
    while chunk := list(islice(iterator, rows)):
        batch = pa.record_batch([pa.array([row.cells[name] for row in chunk]) for name in schema.names], schema=schema)
        yield TableChunk([row.cells[text_column] for row in chunk], batch)


def _first_of(texts: Sequence[str], columns: Sequence[str]) -> str:
    return next((name for name in texts if name in columns), texts[0])


def _parquet_chunks(
    stream: BufferedReader, name: str, texts: Sequence[str], reserved: Sequence[str], rows: int
) -> ChunkedFile:
    file = open_parquet(stream, name)
    schema = file.schema_arrow
    text_column = _first_of(texts, schema.names)
    _check_columns(name, schema.names, text_column, reserved)
    kind = schema.field(text_column).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)):
        raise DataError(f"{name}: the column {text_column!r} has the type {kind}, should be text")
    batches = parquet_batches(file, name, rows, [text_column])
    chunks = (TableChunk([cells[text_column] or "" for cells in column], batch) for batch, column in batches)
    return ChunkedFile(name, schema.names, schema, chunks)


def _json_chunks(
    stream: BufferedReader, encoding: str, name: str, texts: Sequence[str], reserved: Sequence[str], rows: int
) -> ChunkedFile:
    parsed = enumerate(json_objects(stream, encoding, name), start=1)
    _, (_, first) = head = next(parsed)
    columns = list(first)
    text_column = _first_of(texts, columns)
    _check_columns(name, columns, text_column, reserved)

    def chunks() -> Iterator[Chunk]:
        iterator = chain([head], parsed)
        while chunk := list(islice(iterator, rows)):
            cells = [_json_text(row, f"{name} row {n}", text_column, reserved) for n, (_, row) in chunk]
            yield JsonChunk(cells, name, columns, [line for _, (line, _) in chunk], [row for _, (_, row) in chunk])

    return ChunkedFile(name, columns, None, chunks())


def _json_text(row: Mapping[str, Any], name: str, text_column: str, reserved: Sequence[str]) -> str:
    _check_columns(name, list(row), text_column, reserved)
    text = row[text_column]
    if text is not None and not isinstance(text, str):
        raise DataError(f"{name}: {text_column!r} is {json.dumps(text)[:40]}, should be text")
    return text or ""


def _check_columns(name: str, columns: Sequence[str], text_column: str, reserved: Sequence[str]) -> None:
    if len(set(columns)) < len(columns):
        raise DataError(f"{name}: two columns have the same name; rename one")
    if text_column not in columns:
        hint = near(text_column, columns)
        known = ", ".join(map(repr, columns))
        raise DataError(f"{name}: no column {text_column!r}{hint}; set stage.text_column to one of {known}")
    taken = next((column for column in columns if column in reserved), None)
    if taken is not None:
        raise DataError(
            f"{name}: the column {taken!r} exists already and would be overwritten; "
            "set stage.prefix=predicted_ to give the new columns other names"
        )


def _json_values(column: pa.Array) -> list[Any]:
    """Values as JSON types: NaN as null, other types (dates, times, ...) as text."""
    kind = column.type
    if pa.types.is_floating(kind):
        return [value if value is not None and math.isfinite(value) else None for value in column.to_pylist()]
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return list(column.to_pylist())
    return list(_as_text(column).to_pylist())


def _text_values(column: pa.Array) -> list[str]:
    if pa.types.is_nested(column.type):
        return ["" if value is None else _dump(value) for value in column.to_pylist()]
    return ["" if value is None else value for value in _as_text(column).to_pylist()]


def _as_text(column: pa.Array) -> pa.Array:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        return plain.cast(pa.string())
    except pa.ArrowException as error:
        reason = f"cannot be written as text ({first_line(error)}); output_format=parquet keeps it"
        raise DataError(f"a column of {column.type} {reason}") from None


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"a value cannot be written as JSON ({error}); output_format=parquet keeps it") from None
