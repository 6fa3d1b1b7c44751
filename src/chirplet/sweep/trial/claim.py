"""Assigning trials: each to one worker at a time, exactly `n_trials` in all, and abandoned trials again.

All changes happen under the storage's lock, so workers on several machines agree. An abandoned trial keeps its number
and its parameters; only its lease changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.storage import Lock
from chirplet.sweep.plan.study import Samplers, SweepStudy
from chirplet.sweep.trial.lease import ATTRIBUTE, Lease, Owner, Watch

FAILURE = "failure"
"""User attribute of a failed trial: the error, in one line."""

KNOWN = "known"
"""User attribute of a trial: the index of its point in `Plan.enqueue`."""

MOST_CRASHES = 2
"""Crashed workers after which a trial counts as failed. Only a running parent counts them."""


class Nothing(Enum):
    """Why there is no trial to run."""

    YET = "other workers run the last trials, which may be abandoned"
    ANY_MORE = "all trials are finished"
    AFTER_FAILURES = "too many trials failed"


@dataclass(frozen=True)
class Result:
    """The result of a trial: `values` if it is complete, the attribute `failure` if it failed."""

    state: TrialState
    values: Sequence[float] | None
    attributes: dict[str, Any]
    constraints: dict[str, float]


class Claims:
    """One worker's access to the trials of the study."""

    def __init__(self, plan: Plan, storage: BaseStorage, lock: Lock, study: SweepStudy, owner: Owner) -> None:
        self.plan = plan
        self.storage = storage
        self.lock = lock
        self.study = study
        self.owner = owner
        self.study_id = storage.get_study_id_from_name(plan.study_name)
        self.samplers = Samplers(plan.sampler, plan.space, len(plan.directions))
        self.watch = Watch(plan.lease_s)

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study."""
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

    def next(self) -> Trial | Nothing:
        """Assign a trial to this worker: an abandoned one, a waiting one, or a new one."""
        with self.lock("claim"):
            trials = self.trials()
            if too_many_failed(trials, self.plan):
                return Nothing.AFTER_FAILURES
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            for trial in running:
                lease = Lease.read(trial.user_attrs)
                if self.watch.has_run_out(trial.number, lease):
                    return self._take(trial._trial_id, 0 if lease is None else lease.crashes)
            waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
            if len(trials) - len(waiting) >= self.plan.n_trials:
                return Nothing.YET if running else Nothing.ANY_MORE
            if waiting:
                self.storage.set_trial_state_values(waiting[0]._trial_id, state=TrialState.RUNNING)
                return self._take(waiting[0]._trial_id, 0)
            return self._take(self._new(trials), 0)

    def tell(self, number: int, trial_id: int, result: Result) -> bool:
        """Finish a trial; returns False and stores nothing if another worker has taken it over."""
        with self.lock("claim"):
            if self._held_lease(trial_id) is None:
                return False
            trial = Trial(self._seeded(number), trial_id)
            for name, value in result.attributes.items():
                trial.set_user_attr(name, value)
            for name, value in result.constraints.items():
                if name not in trial.constraints:
                    trial.set_constraint(name, value)
            values = None if result.values is None else list(result.values)
            self.study.tell(trial, values, result.state)
            return True

    def beat(self, trial_id: int) -> bool:
        """Renew the lease; returns False if another worker has taken the trial over."""
        with self.lock("claim"):
            lease = self._held_lease(trial_id)
            if lease is not None:
                self._set_lease(trial_id, lease.next_beat())
            return lease is not None

    def give_back(self, trial_id: int) -> None:
        """Release an unfinished trial; the next worker that asks runs it again."""
        with self.lock("claim"):
            lease = self._held_lease(trial_id)
            if lease is not None:
                self._set_lease(trial_id, replace(lease, owner=None))

    def fail_worker(self, pid: int, message: str) -> bool:
        """Record that a worker process of this machine crashed: its trial runs once more, and fails the second time.

        Returns:
            Whether the worker had a trial.
        """
        had_trial = False
        with self.lock("claim"):
            for trial in self.trials():
                lease = Lease.read(trial.user_attrs)
                if trial.state != TrialState.RUNNING or lease is None or lease.owner is None:
                    continue
                if (lease.owner.host, lease.owner.pid) != (self.owner.host, pid):
                    continue
                had_trial = True
                exited = replace(lease, owner=None, crashes=lease.crashes + 1)
                self._set_lease(trial._trial_id, exited)
                if exited.crashes >= MOST_CRASHES:
                    self.storage.set_trial_user_attr(trial._trial_id, FAILURE, message)
                    self.study.tell(trial.number, state=TrialState.FAIL)
        return had_trial

    def _take(self, trial_id: int, crashes: int) -> Trial:
        number = self.storage.get_trial_number_from_id(trial_id)
        trial = Trial(self._seeded(number), trial_id)
        if set(self.plan.space) - set(trial.params):
            # As in `ask`: results of other workers count.
            self.study._thread_local.cached_all_trials = None
            _ = trial.relative_params  # sampled jointly, even if an earlier worker has stored some of them
        for name, distribution in self.plan.space.items():
            _suggest(trial, name, distribution)
        # Set last, so that a trial with a lease has all its parameters.
        self._set_lease(trial_id, Lease(self.owner, 0, crashes))
        return trial

    def _new(self, trials: Sequence[FrozenTrial]) -> int:
        """Create a trial: for the next point of `Plan.enqueue`, or one to be sampled."""
        tried = {trial.user_attrs.get(KNOWN) for trial in trials}
        for index, point in enumerate(self.plan.enqueue):
            if index not in tried:
                template = create_trial(
                    state=TrialState.RUNNING, system_attrs={"fixed_params": point}, user_attrs={KNOWN: index}
                )
                return self.storage.create_new_trial(self.study_id, template_trial=template)
        return self.storage.create_new_trial(self.study_id)

    def _seeded(self, number: int) -> SweepStudy:
        self.study.sampler = self.samplers.for_trial(number)
        return self.study

    def _held_lease(self, trial_id: int) -> Lease | None:
        """This worker's lease on a running trial, or None if it has none."""
        trial = self.storage.get_trial(trial_id)
        lease = Lease.read(trial.user_attrs)
        is_held = trial.state == TrialState.RUNNING and lease is not None and lease.owner == self.owner
        return lease if is_held else None

    def _set_lease(self, trial_id: int, lease: Lease) -> None:
        self.storage.set_trial_user_attr(trial_id, ATTRIBUTE, lease.plain())


def too_many_failed(trials: Sequence[FrozenTrial], plan: Plan) -> bool:
    """Whether more trials have failed than the plan allows."""
    return sum(trial.state == TrialState.FAIL for trial in trials) > plan.failures_allowed


def failed(error: BaseException) -> Result:
    """The result of a trial that ended with an exception."""
    return failure(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])


def failure(message: str) -> Result:
    """The result of a trial that failed, with a message of one line."""
    return Result(TrialState.FAIL, None, {FAILURE: message}, {})


def completed(
    values: Sequence[float | None], names: Sequence[str], attributes: dict[str, Any], constraints: dict[str, float]
) -> Result:
    """The result of a completed trial; a missing value or NaN makes it a failed one."""
    for name, value in zip(names, values, strict=True):
        if value is None:
            return failure(f"{name}: the run returned no value")
        if math.isnan(value):
            return failure(f"{name}: is not a number")
    return Result(TrialState.COMPLETE, [float(value) for value in values if value is not None], attributes, constraints)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    else:
        assert isinstance(distribution, FloatDistribution)
        trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
