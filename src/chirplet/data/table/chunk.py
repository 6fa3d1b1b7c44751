"""Rows of a table file that can be written again with more columns and unchanged values."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chirplet.system.error import DataError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

Added = Mapping[str, Sequence[str] | Sequence[float]]
"""Columns to add to a chunk: name to one value per row."""


class Chunk(ABC):
    """Some rows of a file. `texts` are the cells of the text column, with an empty string for a null."""

    texts: list[str]

    @abstractmethod
    def batch(self) -> "pa.RecordBatch":
        """The rows as Arrow columns, for which pyarrow must be installed."""

    def lines(self, added: Added) -> Iterator[str]:
        """Each row as a JSON object with the added keys last."""
        batch = self.batch()
        columns = {name: _json_values(batch.column(name)) for name in batch.schema.names}
        columns |= {name: list(values) for name, values in added.items()}
        for cells in zip(*columns.values(), strict=True):
            yield _dump(dict(zip(columns, cells, strict=True)))

    def cells(self) -> Iterator[Sequence[str]]:
        """Each row as text, with an empty string for a null."""
        return zip(*(_text_values(column) for column in self.batch().columns), strict=True)


@dataclass(frozen=True)
class TextChunk(Chunk):
    """Rows of a CSV, TSV or Excel file, whose cells are text."""

    texts: list[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def batch(self) -> "pa.RecordBatch":
        """The rows as columns of text."""
        import pyarrow as pa

        cells = zip(*self.rows, strict=True) if self.rows else ([] for _ in self.columns)
        return pa.record_batch([pa.array(column, pa.string()) for column in cells], names=list(self.columns))

    def lines(self, added: Added) -> Iterator[str]:
        """Each row as an object of texts with the added keys last."""
        names = [*self.columns, *added]
        for old, new in zip(self.rows, zip(*added.values(), strict=True), strict=True):
            yield _dump(dict(zip(names, (*old, *new), strict=True)))

    def cells(self) -> Iterator[Sequence[str]]:
        """Each row as it is."""
        return iter(self.rows)


@dataclass(frozen=True)
class TableChunk(Chunk):
    """Rows of a Parquet file."""

    texts: list[str]
    table: "pa.RecordBatch"

    def batch(self) -> "pa.RecordBatch":
        """The rows with the file's types."""
        return self.table


@dataclass(frozen=True)
class JsonChunk(Chunk):
    """Rows of a JSONL file: each line and its object; `schema` has the columns of a table of them, if one is made."""

    texts: list[str]
    name: str
    schema: "pa.Schema | None"
    raw: list[str]
    objects: list[dict[str, Any]]

    def batch(self) -> "pa.RecordBatch":
        """The values by the schema's keys, with null for a missing key.

        Raises:
            DataError: a value cannot be converted.
        """
        import pyarrow as pa

        from chirplet.data.table.json_schema import json_column

        assert self.schema is not None
        try:
            columns = [json_column([row.get(field.name) for row in self.objects], field.type) for field in self.schema]
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise DataError(f"{self.name}: {first_line(error)}; output_format=jsonl keeps the values") from None
        return pa.record_batch(columns, schema=self.schema)

    def lines(self, added: Added) -> Iterator[str]:
        """Each line with the added keys before its closing brace."""
        rows = zip(*added.values(), strict=True)
        for line, cells in zip(self.raw, rows, strict=True):
            yield f"{line[:-1].rstrip()}, {_dump(dict(zip(added, cells, strict=True)))[1:]}"


def _json_values(column: "pa.Array") -> list[Any]:
    """Values as JSON types: NaN as null, other types (dates, times, ...) as text."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_floating(kind):
        return [value if value is not None and math.isfinite(value) else None for value in column.to_pylist()]
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return list(column.to_pylist())
    return list(_as_text(column).to_pylist())


def _text_values(column: "pa.Array") -> list[str]:
    import pyarrow as pa

    if pa.types.is_nested(column.type):
        return ["" if value is None else _dump(value) for value in column.to_pylist()]
    return ["" if value is None else value for value in _as_text(column).to_pylist()]


def _as_text(column: "pa.Array") -> "pa.Array":
    import pyarrow as pa

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
