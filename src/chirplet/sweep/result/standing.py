"""The leading trials, and an estimate of the remaining time."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from chirplet.sweep.plan.plan import Direction

LEADERS = 3
"""Number of best trials that are ranked with one objective."""


class Standing:
    """The best trials so far with their losses, best first; with several objectives the Pareto front.

    Losses are the objectives, negated if they are maximised, so that less is better.
    """

    def __init__(self, directions: Sequence[Direction]) -> None:
        self.signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
        self.leaders: list[tuple[tuple[float, ...], FrozenTrial]] = []

    def add(self, trial: FrozenTrial) -> bool:
        """Rank `trial`; returns whether it is the best so far, or on the front. Ties go to the earlier trial."""
        losses = self._losses(trial)
        if losses is None:
            return False
        if len(self.signs) == 1:
            rank = bisect_right([leader for leader, _ in self.leaders], losses)
            self.leaders.insert(rank, (losses, trial))
            del self.leaders[LEADERS:]
            return rank == 0
        if any(dominates(leader, losses) for leader, _ in self.leaders):
            return False
        self.leaders = [other for other in self.leaders if not dominates(losses, other[0])]
        self.leaders.insert(bisect_right([leader for leader, _ in self.leaders], losses), (losses, trial))
        return True

    def _losses(self, trial: FrozenTrial) -> tuple[float, ...] | None:
        values = trial.values
        if trial.state != TrialState.COMPLETE or not values or len(values) != len(self.signs) or not feasible(trial):
            return None
        losses = tuple(sign * value for sign, value in zip(self.signs, values, strict=True))
        return None if any(map(math.isnan, losses)) else losses


def dominates(losses: Sequence[float], others: Sequence[float]) -> bool:
    """Whether no loss is larger than in `others`, and at least one is smaller."""
    return losses != others and all(loss <= other for loss, other in zip(losses, others, strict=True))


def feasible(trial: FrozenTrial) -> bool:
    """Whether every constraint is satisfied; NaN does not satisfy one."""
    return all(excess <= 0 for excess in trial.constraints.values())


def estimate(left: int, took: Sequence[float], elapsed: Sequence[float], workers: int) -> float | None:
    """Seconds until `left` more trials are done; None if none has finished yet or none is left.

    `took` are the seconds of finished trials, `elapsed` those of the running trials so far, which count among `left`.
    Each free worker takes the next trial, and a new trial takes the mean. The rest of a running trial is estimated from
    the trials that took longer: the mean would be too short for a trial that was not pruned early.
    """
    if left <= 0 or not took:
        return None
    mean = fmean(took)
    free = [_rest(seconds, took, mean) for seconds in elapsed]
    free += [0.0] * (workers - len(free))
    heapq.heapify(free)
    for _ in range(left - len(elapsed)):
        heapq.heapreplace(free, free[0] + mean)
    return max(free)


def _rest(elapsed: float, took: Sequence[float], mean: float) -> float:
    longer = [length - elapsed for length in took if length > elapsed]
    # No trial took this long. A tenth more keeps the estimate above zero; the mean limits it for an abandoned trial.
    return fmean(longer) if longer else min(elapsed / 10, mean)


def seconds(trial: FrozenTrial) -> float | None:
    """The duration of a finished trial: its attribute `seconds`, else from its dates; None if neither is known."""
    recorded = trial.user_attrs.get("seconds")
    if isinstance(recorded, int | float) and math.isfinite(recorded) and recorded >= 0:
        return float(recorded)
    start, end = timestamp(trial.datetime_start), timestamp(trial.datetime_complete)
    return None if start is None or end is None else max(0.0, end - start)


def timestamp(moment: datetime | None) -> float | None:
    """Seconds since the epoch, or None if there is no such moment or it is out of range."""
    try:
        return None if moment is None else moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
