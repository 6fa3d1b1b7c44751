"""A function of many items, computed by several processes.

They are started by exec, which is safe besides threads, and import only what the function needs: those of
`concurrent.futures` run the program's main module again. They read from the parent until it exits, however it does.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any, TypeVar

import cloudpickle

from chirplet.system.child_process import DONE, environment, framed, next_payload, standard_input
from chirplet.system.error import ProcessError

Item = TypeVar("Item")
Result = TypeVar("Result")


def process_map(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int, chunk: int
) -> Iterator[Result]:
    """The function's results in the order of the items; its errors are raised. All processes end with the iteration.

    Args:
        function: of a module's top level, or a `partial` of one; it writes nothing to standard output.
        items: what it is called with.
        processes: their number.
        chunk: items that a process gets at once.

    Raises:
        ProcessError: a process exited.
    """
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def results(part: Sequence[Item]) -> list[Result]:
        process = idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"".join(framed(cloudpickle.dumps((function, part)))))
            process.stdin.flush()
            size = int.from_bytes(process.stdout.read(8), "big")
            answer = process.stdout.read(size)
            if not size or len(answer) < size:
                raise EOFError
            done, error = cloudpickle.loads(answer)
        finally:
            idle.put(process)
        if error is not None:
            raise error
        return list(done)

    try:
        with ExitStack() as stack:
            for _ in range(processes):
                process = stack.enter_context(_started())
                stack.callback(process.kill)
                idle.put(process)
            threads = ThreadPoolExecutor(processes)
            stack.callback(threads.shutdown, cancel_futures=True)
            for part in threads.map(results, chunks):
                yield from part
    except (EOFError, BrokenPipeError):
        remedy = "out of memory? OMP_NUM_THREADS=1 starts none"
        raise ProcessError(f"a process exited before its work was done; {remedy}") from None


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # so that Ctrl-C reaches the parent only
        env=environment(),
    )


def _serve() -> None:
    stream = standard_input()
    while True:
        function, part = cloudpickle.loads(next_payload(stream))
        answer: tuple[list[Any] | None, Exception | None]
        try:
            answer = [function(item) for item in part], None
        except Exception as error:
            answer = None, error
        try:
            sys.stdout.buffer.write(b"".join(framed(cloudpickle.dumps(answer))))
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # the parent has exited
            os._exit(DONE)


if __name__ == "__main__":
    _serve()
