"""Decode bytes to lines of text.

Files of tweets are often truncated, concatenated and re-encoded. Input that cannot be decoded reliably raises an error
that names its line and byte.
"""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from chirplet.data.table.files import open_bytes
from chirplet.system.error import DataError, Key

FIELD_LIMIT = 1_000_000
"""Maximum characters of a field or line; a tweet has 280."""
MIXED = "mixed"
"""Pseudo-encoding: the encoding is detected cell by cell."""
ENCODING = Key("data.encoding")


def check_encoding(encoding: str) -> str:
    """Return the encoding's name if Python knows it.

    Raises:
        ValueError: Python does not know it.
    """
    if encoding == MIXED:
        return encoding
    try:
        # Unlike codecs.lookup, this rejects bytes-to-bytes codecs like base64.
        io.TextIOWrapper(io.BytesIO(), encoding)
    except LookupError:
        raise ValueError(
            f"got {encoding!r}, should be an encoding that Python knows (utf-8, cp1252, latin-1, ...), or {MIXED}"
        ) from None
    return encoding


Encoding = Annotated[str, AfterValidator(check_encoding)]
"""The name of an encoding that Python knows, or `MIXED`."""


def decode_mixed(cell: str) -> tuple[str, bool]:
    """Decode a cell that was read as latin-1; returns the text, and whether its bytes were not UTF-8.

    Bytes that are not UTF-8 are decoded as Windows-1252, which has curly quotes where latin-1 has control characters,
    or as latin-1 if they contain one of the five bytes that Windows-1252 does not define.
    """
    if cell.isascii():
        return cell, False
    raw = cell.encode("latin-1")
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding), encoding != "utf-8"
        except UnicodeDecodeError:
            continue
    return cell, True


def read_lines(path: Path) -> list[str]:
    """All lines of a UTF-8 text file, without line endings.

    Raises:
        DataError: the file is missing or damaged.
    """
    with open_bytes(path) as stream:
        try:
            return [line.rstrip("\r\n") for line in Lines(stream, "utf-8")]
        except DataError as error:
            raise error.behind(f"{path} ") from None


class Lines:
    """Lines of a byte stream as text, each with its line ending, as the csv module requires.

    `number` counts the lines read so far. Errors name it, and callers add the file's name. With encoding `mixed`, lines
    are latin-1, one character per byte, and cells are decoded with `decode_mixed`. A byte order mark is removed; that
    of UTF-16 or UTF-32 overrides `encoding`, and then `mixed` is false from the first line on. Nothing is read before.
    """

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self.number = 0

    def _start(self) -> None:
        mark, self._encoding = _byte_order_mark(self._stream.peek(4), self._encoding)
        self.mixed = self._encoding == MIXED
        self._wide = not self.mixed and codecs.lookup(self._encoding).name.startswith(("utf-16", "utf-32"))
        self._offset = 0 if self._wide else mark
        self._stream.read(self._offset)
        # All other encodings have ASCII line endings. Lines are split first and decoded one by one, so that an error
        # can name its line and byte.
        self._text = io.TextIOWrapper(self._stream, encoding=self._encoding if self._wide else "latin-1", newline="")

    def __iter__(self) -> Iterator[str]:
        self._start()
        while line := self._read():
            self.number += 1
            if len(line) > FIELD_LIMIT:
                raise DataError(
                    f"line {self.number}: more than {FIELD_LIMIT:,} characters, which is not a tweet; "
                    "an unclosed quote, or another kind of file?"
                )
            if "\0" in line:
                raise DataError(
                    f"line {self.number}: a NUL byte; a file in UTF-16 without a byte order mark? set ",
                    ENCODING,
                    "=utf-16-le if so",
                )
            text = self._decode(line)
            self._offset += len(line)
            yield text

    def _read(self) -> str:
        try:
            return self._text.readline(FIELD_LIMIT + 1)
        except UnicodeError as error:
            reason = f"after line {self.number}: not valid {self._encoding} ({error}); set "
            raise DataError(reason, ENCODING) from None

    def _decode(self, line: str) -> str:
        if self._wide or self.mixed or line.isascii():
            return line
        raw = line.encode("latin-1")
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            position = f"line {self.number}, byte {self._offset + error.start}"
            raise DataError(
                f"{position}: 0x{raw[error.start]:02x} is not valid {self._encoding}; set ",
                ENCODING,
                f" to the file's encoding, for example cp1252 or latin-1, or to {MIXED}",
            ) from None


def _byte_order_mark(start: bytes, encoding: str) -> tuple[int, str]:
    """Length of the byte order mark in bytes, and the encoding."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return 4, "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return 2, "utf-16"
    return (3, encoding) if start.startswith(codecs.BOM_UTF8) else (0, encoding)
