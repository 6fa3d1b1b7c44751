"""The signals that ask a run to end, besides Ctrl-C: they end it as Ctrl-C does."""

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""SIGTERM, a closed terminal, and the warnings of schedulers before a time limit."""


@contextmanager
def ending_as_ctrl_c() -> Iterator[None]:
    """Let the signals of `ENDING` raise KeyboardInterrupt in the block, which may be within another such block.

    Those that are ignored stay ignored (`nohup`), and those that a library handles stay with it (submitit requeues its
    job on SIGUSR2). Python allows signal handlers in the main thread only; elsewhere this does nothing.
    """
    taken = []
    if threading.current_thread() is threading.main_thread():
        taken = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def handlers_to_replace() -> dict[int, Any]:
    """The handlers that a training may replace by its own, by signal: Ctrl-C, SIGTERM and what this module handles."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    always = (signal.SIGINT, signal.SIGTERM)
    return {
        number: handler
        for number, handler in handlers.items()
        if number in always or handler in (signal.SIG_DFL, _interrupt)
    }


def ignore_signals() -> None:
    """Ignore Ctrl-C and `ENDING`, for a process that another one ends."""
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)


def leave_closed_terminal() -> None:
    """Send output to nowhere if its terminal was closed; every write would raise an error, before anything is saved."""
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    leave_closed_terminal()
    # A closed terminal sends SIGHUP twice, `timeout` SIGTERM: the second one would interrupt the end.
    for other in ENDING:
        if signal.getsignal(other) is _interrupt:
            signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
