"""What a process of our own is given by the one that started it, through its standard input; it leaves when that does.

Standard input stays open as long as the parent lives.
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
"""Prefix of a line that reports an error to the parent."""


def environment(**more: str) -> dict[str, str]:
    """What a child is to have in its environment: Python finds the same modules there."""
    return os.environ | more | {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}


def exit_reason(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a child wrote to standard error, or its exit code where there is none."""
    return next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")


def received() -> Any:
    """What the parent gave: whatever it may be, it is unpickled, since the parent is the same program."""
    import cloudpickle

    # Without a buffer: a thread that waits in a buffered reader makes Python abort when it ends.
    stream = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
    payload = _read(stream, int.from_bytes(_read(stream, 8), "big"))
    threading.Thread(target=_leave_with_parent, args=(stream,), daemon=True).start()
    return cloudpickle.loads(payload)


def framed(payload: bytes) -> tuple[bytes, bytes]:
    """What the parent writes so that `received` finds its end."""
    return len(payload).to_bytes(8, "big"), payload


def _read(stream: RawIOBase, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:  # the parent has left, or has nothing to do
            os._exit(DONE)
        parts += part
    return bytes(parts)


def _leave_with_parent(stream: RawIOBase) -> None:
    stream.read(1)
    # What was at hand is found by whoever goes on, as after a kill.
    os._exit(DONE)
