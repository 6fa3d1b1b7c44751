"""Parquet files, read and written batch by batch."""

from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from typing import Any, BinaryIO

from chirplet.data.table.chunk import Added, Chunk
from chirplet.system.error import DataError, first_line
from chirplet.system.optional_dependency import INSTALL_PYARROW, PYARROW, needs

with needs(PYARROW, INSTALL_PYARROW):
    import pyarrow as pa
    import pyarrow.parquet as pq

_KINDS = {str: pa.string(), float: pa.float64()}


def open_parquet(stream: BufferedReader, name: str) -> pq.ParquetFile:
    """Open a Parquet file and read its schema, but no rows.

    Raises:
        DataError: it is not a Parquet file, or the stream is not seekable.
    """
    if not stream.seekable():
        raise DataError(f"{name}: Parquet is read from its end, should be a file that is not compressed")
    try:
        # With `pre_buffer`, Arrow keeps all data in memory until the file is closed.
        return pq.ParquetFile(stream, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: not a Parquet file ({first_line(error)})") from None


def parquet_batches(
    file: pq.ParquetFile, name: str, rows: int, columns: Sequence[str], others: bool
) -> Iterator[tuple[pa.RecordBatch, list[dict[str, Any]]]]:
    """Batches of at most `rows` rows, each with the values of its rows in `columns`.

    Args:
        file: the file.
        name: its name, for messages.
        rows: rows of a batch.
        columns: the columns whose values are given.
        others: whether batches also have the other columns.

    Raises:
        DataError: the file is damaged; the message names the last row that was read.
    """
    seen = 0
    try:
        for batch in file.iter_batches(rows, columns=None if others else list(columns)):
            values = _values(batch, columns)
            yield batch, values
            seen += len(values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name} after row {seen}: damaged Parquet ({first_line(error)})") from None


def _values(batch: pa.RecordBatch, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The values by column, as Python's types, whose times have microseconds."""
    lists = []
    for column in columns:
        values = batch.column(column)
        if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
            values = values.cast(pa.timestamp("us", values.type.tz), safe=False)
        lists.append(values.to_pylist())
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*lists, strict=True)]


class ParquetWriter:
    """Writes chunks to a byte stream, one row group per chunk.

    `columns` are those of the file, which are text if it has no `schema`; `added` are names and types of the others.
    """

    def __init__(
        self, stream: BinaryIO, columns: Sequence[str], schema: pa.Schema | None, added: Mapping[str, type]
    ) -> None:
        if schema is None:
            schema = pa.schema([(column, pa.string()) for column in columns])
        self._added = {name: _KINDS[kind] for name, kind in added.items()}
        for field in self._added.items():
            schema = schema.append(pa.field(*field))
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd")

    def write(self, chunk: Chunk, added: Added) -> None:
        """Append the rows of a chunk with their added columns.

        Raises:
            DataError: a value does not have the type of its column.
        """
        batch = chunk.batch()
        new = [pa.array(added[name], type=kind) for name, kind in self._added.items()]
        try:
            old = [column.cast(self._writer.schema.field(i).type) for i, column in enumerate(batch.columns)]
        except pa.ArrowException as error:
            reason = f"a value does not have the type of its column in the first file ({first_line(error)})"
            raise DataError(f"output: {reason}; output_format=jsonl keeps it") from None
        self._writer.write_batch(pa.record_batch([*old, *new], schema=self._writer.schema))

    def close(self) -> None:
        """Write the end of the file; the stream stays open."""
        self._writer.close()
