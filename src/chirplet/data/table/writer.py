"""Write chunks of a table file with additional columns as CSV, TSV, JSONL or Parquet, atomically."""

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

from chirplet.data.table.reader import Format
from chirplet.data.table.stream import Added, Chunk, ChunkedFile
from chirplet.system.atomic_io import atomic_file
from chirplet.system.error import DataError, first_line
from chirplet.system.escaping import csv_cell

STDOUT = "-"
DELIMITERS = {"csv": ",", "tsv": "\t"}


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
    """CSV or TSV. Cells are quoted if necessary, so that a reader gets the same values.

    Existing cells are not changed. In added columns, a label that a spreadsheet would evaluate gets an apostrophe.

    Python's csv.writer does not quote a lone carriage return, which readers take for the end of the row.
    """

    def __init__(self, stream: BinaryIO, columns: Sequence[str], delimiter: str, quoted: bool) -> None:
        self._stream = stream
        self._delimiter = delimiter
        self._special = {delimiter, "\r", "\n"} | ({'"'} if quoted else set())
        self._quoted = quoted
        self._row(columns)

    def write(self, chunk: Chunk, added: Added) -> None:
        for old, new in zip(chunk.cells(), zip(*added.values(), strict=True), strict=True):
            self._row([*old, *(str(csv_cell(cell)) for cell in new)])

    def _row(self, cells: Sequence[str]) -> None:
        line = self._delimiter.join(map(self._cell, cells))
        # A row of one empty cell would be a blank line, which readers skip.
        self._stream.write(((line or '""') + "\n").encode())

    def _cell(self, cell: str) -> str:
        if self._special.isdisjoint(cell):
            return cell
        if not self._quoted:
            raise DataError(f"output: {cell[:40]!r} cannot be written without quotes; set stage.quoted=true")
        return '"' + cell.replace('"', '""') + '"'


class JsonLinesWriter(Writer):
    """One JSON object per line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, chunk: Chunk, added: Added) -> None:
        for line in chunk.lines(added):
            self._stream.write(f"{line}\n".encode())


class ParquetWriter(Writer):
    """Parquet, one row group per chunk. Without a schema, that of the first chunk is used."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema | None, added: pa.Schema) -> None:
        self._stream = stream
        self._added = added
        self._writer = None if schema is None else self._open(schema)

    def write(self, chunk: Chunk, added: Added) -> None:
        batch = chunk.batch()
        if self._writer is None:
            self._writer = self._open(batch.schema)
        new = [pa.array(added[field.name], type=field.type) for field in self._added]
        try:
            old = [column.cast(self._writer.schema.field(i).type) for i, column in enumerate(batch.columns)]
        except pa.ArrowException as error:
            reason = f"a value does not have the type of its column in the first rows ({first_line(error)})"
            raise DataError(f"output: {reason}; output_format=jsonl keeps it") from None
        self._writer.write_batch(pa.record_batch([*old, *new], schema=self._writer.schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        for field in self._added:
            schema = schema.append(field)
        return pq.ParquetWriter(self._stream, schema, compression="zstd")


@contextmanager
def open_writer(path: str, kind: Format, source: ChunkedFile, added: pa.Schema, quoted: bool) -> Iterator[Writer]:
    """A writer for the chunks of `source`, which replaces `path` atomically when the block ends without an error.

    Args:
        path: the file, or `-` for standard output, to which rows are written immediately, and Parquet when it is
            complete.
        kind: its format.
        source: the file of the chunks.
        added: names and types of the columns to add.
        quoted: whether cells of CSV and TSV may be quoted.

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
            writer = DelimitedWriter(stream, [*source.columns, *added.names], DELIMITERS[kind], quoted)
        try:
            yield writer
        finally:
            # Otherwise Arrow would close the writer when it is collected, after the stream.
            writer.close()


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
            yield stream
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
