"""Child processes, which get their input through standard input and exit when their parent does.

The parent keeps standard input open as long as it runs.
"""

import os
import subprocess
import sys
import threading
from io import RawIOBase
from typing import Any

DONE = 0
"""Exit code."""

ERROR = "error: "
"""Prefix of the line that reports an error to the parent."""


def environment(**more: str) -> dict[str, str]:
    """The environment of a child process, in which Python finds the same modules."""
    return os.environ | more | {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}


def exit_reason(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a child wrote to standard error, or its exit code if there is none."""
    return next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")


def received() -> Any:
    """The object that the parent sent. It is unpickled, which is safe because the parent is the same program."""
    import cloudpickle

    stream = standard_input()
    payload = next_payload(stream)
    threading.Thread(target=_leave_with_parent, args=(stream,), daemon=True).start()
    return cloudpickle.loads(payload)


def standard_input() -> RawIOBase:
    """Unbuffered, since Python aborts at exit if a thread waits in a buffered reader."""
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


def next_payload(stream: RawIOBase) -> bytes:
    """What the parent sent next as `framed`. This process exits if it sent nothing more, or exited."""
    return _read(stream, int.from_bytes(_read(stream, 8), "big"))


def framed(payload: bytes) -> tuple[bytes, bytes]:
    """What is written for `received` and `next_payload`: the length of `payload` in 8 bytes, and `payload`."""
    return len(payload).to_bytes(8, "big"), payload


def _read(stream: RawIOBase, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:  # the parent has exited, or has no work
            os._exit(DONE)
        parts += part
    return bytes(parts)


def _leave_with_parent(stream: RawIOBase) -> None:
    stream.read(1)
    # The next run resumes from what is on disk, as after a kill.
    os._exit(DONE)
