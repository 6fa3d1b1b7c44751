"""A worker's process: `python -m chirplet.sweep.process`, given the worker through standard input by its parent.

Standard input stays open as long as the parent lives. What a worker needs is imported before it has come, while the
parent still plans.
"""

import os
import sys
import threading
from io import RawIOBase

DONE, CONFIGURATION, INTERRUPTED = 0, 2, 130
"""Exit codes."""

ERROR = "error: "
"""How a line begins that tells the parent what was wrong."""


def main() -> None:
    """Receive the worker and let it work."""
    try:
        _work()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _work() -> None:
    import cloudpickle
    from hydra.core.singleton import Singleton

    import chirplet.sweep.worker  # noqa: F401 - the worker to come is made of it
    from chirplet.error import UserError

    # Without a buffer: a thread that waits in a buffered reader makes Python abort when it ends.
    stream = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
    payload = _read(stream, int.from_bytes(_read(stream, 8), "big"))
    threading.Thread(target=_leave_with_parent, args=(stream,), daemon=True).start()
    try:
        state, worker = cloudpickle.loads(payload)
        Singleton.set_state(state)
        worker.work()
    except UserError as error:
        sys.stderr.writelines(f"{ERROR}{line}\n" for line in str(error).splitlines())
        sys.exit(CONFIGURATION)


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
    # The trial at hand is found by whoever goes on with the sweep, as after a kill.
    os._exit(DONE)


if __name__ == "__main__":
    main()
