"""Parquet files, read batch by batch."""

from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chirplet.system.error import DataError, first_line


def open_parquet(stream: BufferedReader, name: str) -> pq.ParquetFile:
    """Open a Parquet file and read its schema, but no rows.

    Raises:
        DataError: it is not a Parquet file, or the stream is not seekable.
    """
    if not stream.seekable():
        raise DataError(f"{name}: Parquet is read from its end, should be a file")
    try:
        # With `pre_buffer`, Arrow keeps all data in memory until the file is closed.
        return pq.ParquetFile(stream, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: not a Parquet file ({first_line(error)})") from None


def parquet_batches(
    file: pq.ParquetFile, name: str, rows: int, columns: Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, list[dict[str, Any]]]]:
    """Batches of at most `rows` rows, each with the values of its rows in `columns`.

    Raises:
        DataError: the file is damaged; the message names the last row that was read.
    """
    seen = 0
    try:
        for batch in file.iter_batches(rows):
            values = batch.select(columns).to_pylist()
            yield batch, values
            seen += len(values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name} after row {seen}: damaged Parquet ({first_line(error)})") from None
