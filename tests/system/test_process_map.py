"""Several processes give what one gives, in its order, and none outlives the work or its parent."""

import os
import signal
import subprocess
import sys
from functools import partial

import psutil
import pytest

from chirplet.system import process_map as module
from chirplet.system.child_process import environment
from chirplet.system.error import ProcessError
from chirplet.system.process_map import process_map


def workers(parent: int | None = None) -> list[psutil.Process]:
    """The processes that `parent`, else this process, started for a `process_map`."""
    children = psutil.Process(parent).children()
    return [child for child in children if child.status() != "zombie" and module.__name__ in child.cmdline()]


def test_results_come_in_order_and_the_processes_end() -> None:
    results = process_map(partial(pow, 2), range(25), processes=2, chunk=3)
    first = next(results)
    started = workers()
    assert len(started) == 2
    assert [first, *results] == [2**item for item in range(25)]
    assert not any(worker.is_running() for worker in started)


def test_nothing_is_an_empty_result() -> None:
    assert list(process_map(abs, [], processes=2, chunk=3)) == []


def test_processes_end_with_an_iteration_that_is_left() -> None:
    results = process_map(abs, range(-10_000, 0), processes=2, chunk=1)
    next(results)
    results.close()
    assert not workers()


def test_an_error_of_the_function_is_raised_and_ends_all() -> None:
    with pytest.raises(ValueError, match=r"invalid literal for int.*'x'"):
        list(process_map(int, ["1", "2", "x", "4"], processes=2, chunk=1))
    assert not workers()


def test_a_process_that_exits_is_one_line() -> None:
    with pytest.raises(ProcessError, match=r"exited before its work was done; .*OMP_NUM_THREADS=1") as error:
        list(process_map(os._exit, [9], processes=2, chunk=1))
    assert len(str(error.value).splitlines()) == 1
    assert not workers()


def test_processes_exit_when_their_parent_is_killed() -> None:
    code = f"""
import time
from {module.__name__} import process_map
results = process_map(abs, [-1, 2], processes=2, chunk=1)
print(next(results), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        started = workers(parent.pid)
        assert len(started) == 2
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
