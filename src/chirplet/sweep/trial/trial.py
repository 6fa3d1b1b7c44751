"""The trial that runs in this process, to which training reports its progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_current: list["RunningTrial | None"] = []


class Pruned(Exception):
    """The pruner stopped this trial."""


class LeaseLost(Exception):
    """The lease expired and another worker took this trial over."""


@dataclass(frozen=True)
class RunningTrial:
    """A running trial. `report(value, step)` reports to the study and raises `Pruned` if the trial should stop."""

    number: int
    report: Callable[[float, int], None]


def current() -> RunningTrial | None:
    """The trial that runs in this process, or None outside a sweep."""
    return _current[-1] if _current else None


@contextmanager
def running(trial: RunningTrial) -> Iterator[None]:
    """Make `trial` the current one during the block."""
    _current.append(trial)
    try:
        yield
    finally:
        _current.pop()


@contextmanager
def unreported() -> Iterator[None]:
    """No trial is current during the block, for training that is not the trial's objective."""
    _current.append(None)
    try:
        yield
    finally:
        _current.pop()
