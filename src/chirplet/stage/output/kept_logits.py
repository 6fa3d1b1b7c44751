"""The logits of an interrupted prediction: the same command reads them instead of computing them again.

They are beside the output in `.OUTPUT.logits`: a line of JSON with what they depend on, then a frame for each chunk of
rows (size and CRC-32 of its logits, and the logits as NumPy's format has them). A frame that was cut off by a kill is
dropped. The output itself is written from its start, so that it has the same bytes in every format.
"""

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chirplet.system.console import console
from chirplet.system.error import DataError, Interrupted, UserError

_FRAME = struct.Struct("<QI")


@contextmanager
def kept_logits(output: Path, inputs: Mapping[str, str]) -> Iterator["KeptLogits"]:
    """The logits of an earlier prediction of `output`, if it had the same `inputs`; says from which row on it resumes.

    They are removed when the block ends, or fails by an error of the input. They stay after an interruption, and if the
    disk is full.

    Raises:
        DataError: the folder is not writable, or another command writes the same output.
        Interrupted: Ctrl-C or a signal, after the first chunk.
    """
    path = output.with_name(f".{output.name}.logits")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        state = "the old file is unchanged" if output.exists() else "no file was left"
        raise DataError(f"output: could not write {str(output)!r}: {error.strerror}; {state}") from error
    kept = None
    try:
        _lock(descriptor, output)
        kept = KeptLogits(descriptor, path, inputs)
        yield kept
        path.unlink(missing_ok=True)
    except BaseException as error:
        of_input = isinstance(error, UserError) and not isinstance(error.__cause__, OSError)
        if kept is not None and (of_input or kept.rows == 0):
            path.unlink(missing_ok=True)
        elif kept is not None and isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"interrupted; the same command resumes at row {kept.rows + 1:,}") from error
        raise
    finally:
        os.close(descriptor)


class KeptLogits:
    """Logits of the first `rows` rows, and a place for those of the rows after them."""

    def __init__(self, descriptor: int, path: Path, inputs: Mapping[str, str]) -> None:
        self._descriptor = descriptor
        header = json.dumps(inputs).encode() + b"\n"
        self.rows, self._end = 0, len(header)
        before = _header(descriptor)
        if before == dict(inputs):
            os.lseek(descriptor, len(header), os.SEEK_SET)
            while (frame := _read_frame(descriptor)) is not None:
                self.rows += len(frame)
                self._end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if self.rows:
            _say(f"resumes at row {self.rows + 1:,}; {path} has the logits of the rows before")
        else:
            if os.fstat(descriptor).st_size:
                _say(f"starts at row 1, since {path} {_reason(before, inputs)}")
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            _write(descriptor, header)
        os.ftruncate(descriptor, self._end)
        os.lseek(descriptor, len(header), os.SEEK_SET)

    def next(self, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The logits of the next chunk of rows: kept ones, or computed ones, which are on disk when this returns.

        Raises:
            OSError: the disk is full.
        """
        if os.lseek(self._descriptor, 0, os.SEEK_CUR) < self._end:
            logits = _read_frame(self._descriptor)
            assert logits is not None
            return logits
        logits = compute()
        content = BytesIO()
        np.save(content, logits, allow_pickle=False)
        data = content.getvalue()
        _write(self._descriptor, _FRAME.pack(len(data), zlib.crc32(data)) + data)
        os.fsync(self._descriptor)
        self._end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self.rows += len(logits)
        return logits


def _say(line: str) -> None:
    console().print(line, highlight=False)


def _lock(descriptor: int, output: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(
            f"output: another command is writing {str(output)!r}; wait for it, or give another file"
        ) from None
    except OSError:  # a file system without locks
        return


def _header(descriptor: int) -> Any:
    """What the logits in the file depend on; None if the file is empty or damaged."""
    with suppress(ValueError), open(descriptor, "rb", closefd=False) as stream:
        return json.loads(stream.readline(1 << 20))
    return None


def _reason(before: Any, inputs: Mapping[str, str]) -> str:
    if not isinstance(before, dict):
        return "is damaged"
    differing = [key for key in {**inputs, **before} if inputs.get(key) != before.get(key)]
    return f"is of another {', '.join(differing)}" if differing else "has no complete chunk"


def _read_frame(descriptor: int) -> NDArray[Any] | None:
    """The logits at the position of the file; None at its end, or if they are incomplete."""
    head = os.read(descriptor, _FRAME.size)
    if len(head) < _FRAME.size:
        return None
    size, checksum = _FRAME.unpack(head)
    if size > os.fstat(descriptor).st_size:
        return None
    data = _read(descriptor, size)
    if len(data) < size or zlib.crc32(data) != checksum:
        return None
    logits: NDArray[Any] = np.load(BytesIO(data), allow_pickle=False)
    return logits


def _read(descriptor: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (part := os.read(descriptor, size - len(parts))):
        parts += part
    return bytes(parts)


def _write(descriptor: int, data: bytes) -> None:
    view: Sequence[Any] = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]  # type: ignore[arg-type]
