"""Write chunks of a table file with additional columns as CSV, TSV, JSONL or Parquet, atomically."""

import gzip
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from chirplet.data.table.chunk import Added, Chunk
from chirplet.data.table.delimited import DEFAULT_DELIMITER
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.files import COMPRESSIONS, Format
from chirplet.data.table.stream import ChunkedFile
from chirplet.system.atomic_io import atomic_file
from chirplet.system.error import DataError, Key
from chirplet.system.escaping import csv_cell

STDOUT = "-"
GZIP = ".gz"


class Writer(Protocol):
    """Writes chunks to a byte stream; text is UTF-8, and lines end with a newline."""

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

    def __init__(self, stream: BinaryIO, header: Sequence[str] | None, dialect: Dialect) -> None:
        self._stream = stream
        self._delimiter = dialect.delimiter or ","
        self._special = {self._delimiter, "\r", "\n"} | ({'"'} if dialect.quoted else set())
        self._quoted = dialect.quoted
        self._escape = dialect.escape
        if self._escape is not None:
            escape, delimiter = re.escape(self._escape), re.escape(self._delimiter)
            # Before a quote, before another one, and before what would end the cell without quotes.
            self._escaped = re.compile(f'{escape}(?=[{escape}"{delimiter}\r\n]|$)|"')
        if header is not None:
            self._row(header)

    def write(self, chunk: Chunk, added: Added) -> None:
        for old, new in zip(chunk.cells(), zip(*added.values(), strict=True), strict=True):
            self._row([*old, *(str(csv_cell(cell)) for cell in new)])

    def _row(self, cells: Sequence[str]) -> None:
        line = self._delimiter.join(map(self._cell, cells))
        # A row of one empty cell would be a blank line, which readers skip.
        self._stream.write(((line or '""') + "\n").encode())

    def _cell(self, cell: str) -> str:
        special = not self._special.isdisjoint(cell)
        if special and not self._quoted:
            raise DataError(
                f"output: {cell[:40]!r} cannot be written without quotes; set ", Key("stage.quoted"), "=true"
            )
        if self._escape is not None:
            cell = self._escaped.sub(lambda match: f"{self._escape}{match[0]}", cell)
        elif special:
            cell = cell.replace('"', '""')
        return f'"{cell}"' if special else cell


class JsonLinesWriter(Writer):
    """One JSON object per line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, chunk: Chunk, added: Added) -> None:
        for line in chunk.lines(added):
            self._stream.write(f"{line}\n".encode())


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
def open_writer(path: str, kind: Format, source: ChunkedFile, added: Mapping[str, type]) -> Iterator[Writer]:
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
        DependencyError: Parquet is written, and pyarrow is not installed.
    """
    with _atomic_file(path, kind) as stream:
        writer: Writer
        if kind == "jsonl":
            writer = JsonLinesWriter(stream)
        elif kind == "parquet":
            from chirplet.data.table.parquet import ParquetWriter

            writer = ParquetWriter(stream, source.columns, source.schema, added)
        else:
            writer = _delimited(stream, kind, source, list(added))
        try:
            yield writer
        finally:
            # Otherwise Arrow would close the writer when it is collected, after the stream.
            writer.close()


def _delimited(stream: BinaryIO, kind: Format, source: ChunkedFile, added: Sequence[str]) -> DelimitedWriter:
    if kind != source.dialect.format:
        return DelimitedWriter(stream, [*source.columns, *added], Dialect(kind, delimiter=DEFAULT_DELIMITER[kind]))
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
