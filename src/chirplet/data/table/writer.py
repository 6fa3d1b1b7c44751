"""Write chunks of a table file with additional columns as CSV, TSV, JSONL or Parquet, atomically."""

import gzip
import os
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from chirplet.data.table.chunk import Added, Chunk
from chirplet.data.table.delimited import DEFAULT_DELIMITER
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.files import COMPRESSIONS, Format
from chirplet.data.table.row_writer import RowWriter
from chirplet.data.table.stream import ChunkedFile
from chirplet.system.atomic_io import atomic_file
from chirplet.system.error import DataError, first_line
from chirplet.system.escaping import csv_cell

STDOUT = "-"
GZIP = ".gz"


class Writer(ABC):
    """Writes chunks to a byte stream; text is UTF-8, and lines end with a newline."""

    @abstractmethod
    def write(self, chunk: Chunk, added: Added) -> None:
        """Append the rows of a chunk with their added columns.

        Raises:
            DataError: the format cannot represent a value.
        """

    def close(self) -> None:
        """Write the end of the file; the stream stays open."""
        return


class DelimitedWriter(Writer):
    """CSV or TSV. Existing cells are not changed. In added columns, a label that a spreadsheet would evaluate gets an
    apostrophe.
    """

    def __init__(self, stream: BinaryIO, header: Sequence[str] | None, dialect: Dialect) -> None:
        self._rows = RowWriter(stream, dialect)
        if header is not None:
            self._rows.write(header)

    def write(self, chunk: Chunk, added: Added) -> None:
        for old, new in zip(chunk.cells(), zip(*added.values(), strict=True), strict=True):
            self._rows.write([*old, *(str(csv_cell(cell)) for cell in new)])


class JsonLinesWriter(Writer):
    """One JSON object per line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, chunk: Chunk, added: Added) -> None:
        for line in chunk.lines(added):
            self._stream.write(f"{line}\n".encode())


class ParquetWriter(Writer):
    """Parquet, one row group per chunk."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema, added: pa.Schema) -> None:
        self._added = added
        for field in added:
            schema = schema.append(field)
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd")

    def write(self, chunk: Chunk, added: Added) -> None:
        batch = chunk.batch()
        new = [pa.array(added[field.name], type=field.type) for field in self._added]
        try:
            old = [column.cast(self._writer.schema.field(i).type) for i, column in enumerate(batch.columns)]
        except pa.ArrowException as error:
            reason = f"a value does not have the type of its column in the first file ({first_line(error)})"
            raise DataError(f"output: {reason}; output_format=jsonl keeps it") from None
        self._writer.write_batch(pa.record_batch([*old, *new], schema=self._writer.schema))

    def close(self) -> None:
        self._writer.close()


def check_output(path: str, kind: Format) -> None:
    """Check that the format can be written.

    Raises:
        ValueError: it is Excel, or the suffix is that of a compression that is not written.
    """
    suffix = Path(path).suffix.lower()
    if kind == "excel":
        raise ValueError(f"output: got {path!r}, but Excel is only read; should be .csv, .tsv, .jsonl or .parquet")
    if suffix in COMPRESSIONS and (suffix != GZIP or kind == "parquet"):
        allowed = "not be compressed again" if kind == "parquet" else f"end in {GZIP} if it is to be compressed"
        raise ValueError(f"output: got {path!r}, should {allowed}")


@contextmanager
def open_writer(path: str, kind: Format, source: ChunkedFile, added: pa.Schema) -> Iterator[Writer]:
    """A writer for the chunks of `source`, which replaces `path` atomically when the block ends without an error.

    CSV and TSV are written like the source if that has the same format: with its delimiter, escape, header and quotes.

    Args:
        path: the file, or `-` for standard output, to which rows are written immediately, and Parquet when it is
            complete.
        kind: its format.
        source: the file of the chunks.
        added: names and types of the columns to add.

    Raises:
        DataError: the disk is full, the folder is not writable, or standard output was closed.
    """
    with _atomic_file(path, kind) as stream:
        writer: Writer
        if kind == "jsonl":
            writer = JsonLinesWriter(stream)
        elif kind == "parquet":
            writer = ParquetWriter(stream, source.schema, added)
        else:
            writer = _delimited(stream, kind, source, added.names)
        try:
            yield writer
        finally:
            # Otherwise Arrow would close the writer when it is collected, after the stream.
            writer.close()


def _delimited(stream: BinaryIO, kind: Format, source: ChunkedFile, added: Sequence[str]) -> DelimitedWriter:
    assert source.schema is not None
    if kind != source.dialect.format:
        return DelimitedWriter(stream, [*source.schema.names, *added], Dialect(kind, delimiter=DEFAULT_DELIMITER[kind]))
    return DelimitedWriter(stream, None if source.header is None else [*source.header, *added], source.dialect)


@contextmanager
def _atomic_file(path: str, kind: Format) -> Iterator[BinaryIO]:
    if path == STDOUT:
        with _standard_output() as output:
            if kind != "parquet":
                yield output
                return
            with tempfile.TemporaryFile() as scratch:
                yield cast(BinaryIO, scratch)
                scratch.seek(0)
                shutil.copyfileobj(scratch, output)
        return
    target = Path(path)
    try:
        with atomic_file(target) as stream:
            if target.suffix.lower() != GZIP:
                yield stream
                return
            # Without a name and time, so that the same rows give the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as compressed:
                yield cast(BinaryIO, compressed)
    except OSError as error:
        state = "the old file is unchanged" if target.exists() else "no file was left"
        raise DataError(f"output: could not write {path!r}: {error.strerror or error}; {state}") from error


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes standard output again at exit, which would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise DataError("output: standard output was closed before all rows were written") from None
