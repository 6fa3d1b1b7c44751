"""Each trial is assigned once, `n_trials` in all, and again if its worker was interrupted."""

import math
import os
import signal
import time
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import count
from multiprocessing import Pipe

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from chirplet.sweep.plan.storage import open_storage
from chirplet.sweep.plan.study import open_study
from chirplet.sweep.trial import claim
from chirplet.sweep.trial.claim import FAILURE, Claims, Nothing, Result, completed, failed, failure
from chirplet.sweep.trial.lease import Lease, Owner

FLOATS = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(1e-5, 1e-1, log=True)}
MIXED = FLOATS | {"n": IntDistribution(1, 9), "c": CategoricalDistribution(["a", "b", 3, None])}
STEPS = {"n": IntDistribution(1, 3), "c": CategoricalDistribution(["a", True])}
TURN = count()
ELSEWHERE = Owner("other", "another-host/boot/pid:[1]", 1, 1.7e9)


def enter(plan) -> Claims:
    """The claims of a new worker process."""
    storage, lock = open_storage(plan.storage)
    return Claims(plan, storage, lock, open_study(plan, storage, lock), Owner.here())


@cache
def opened(storage, index):
    return open_storage(storage)


def join(plan, owner=None) -> Claims:
    """The claims of another worker, which opens the storage separately."""
    storage, lock = opened(plan.storage, next(TURN) % 2)
    return Claims(plan, storage, lock, open_study(plan, storage, lock), Owner.here() if owner is None else owner)


def exited() -> Owner:
    """A worker of this machine whose process has exited."""
    return replace(Owner.here(), started=0.0)


def lead(claims, trial, **attributes) -> bool:
    """Complete a trial."""
    value = sum(value for value in trial.params.values() if isinstance(value, int | float))
    result = completed([value], claims.plan.objectives, attributes, {})
    return claims.tell(trial.number, trial._trial_id, result)


def finish(claims) -> list:
    """Complete all remaining trials; returns all trials."""
    while isinstance(trial := claims.next(), Trial):
        assert lead(claims, trial)
    assert trial is Nothing.ANY_MORE
    return claims.trials()


def drawn(claims, trial) -> tuple:
    """The system attributes that samplers set for a trial and the study."""
    return claims.trials()[trial.number].system_attrs, claims.storage.get_study_system_attrs(claims.study_id)


def snapshot(claims) -> list:
    return [(trial.state, trial.values, trial.params, trial.user_attrs) for trial in claims.trials()]


@pytest.fixture
def plan(make_plan):
    """A plan of three trials in a new journal."""
    return make_plan(space=MIXED, n_trials=3)


@pytest.fixture
def any_plan(plan, used_storage):
    """The same plan in a storage of each kind."""
    return replace(plan, storage=used_storage)


def take_part(plan, ready, others, gate):
    """Run trials together with other processes until all are finished; half of them wait at a gate."""
    claims = enter(plan)
    (ready / str(os.getpid())).touch()
    while len(list(ready.iterdir())) < others:
        time.sleep(0.001)
    while (trial := claims.next()) is not Nothing.ANY_MORE:
        if isinstance(trial, Trial):
            while trial.number >= plan.n_trials // 2 and not gate.exists():
                time.sleep(0.001)
            lead(claims, trial, worker=os.getpid())
        else:
            time.sleep(0.01)


def take_and_wait(plan, taken):
    """Claim a trial and hang."""
    taken.send(enter(plan).next().number)
    signal.pause()


def die_while_sampling(plan, parameter):
    """Claim a trial, and get killed when the next one gets `parameter`."""
    claims = enter(plan)
    claims.next()
    suggest = claim._suggest

    def dying(trial, name, distribution):
        if name == parameter:
            os.kill(os.getpid(), signal.SIGKILL)
        suggest(trial, name, distribution)

    claim._suggest = dying
    claims.next()


class TestProcesses:
    def test_each_trial_runs_once_although_a_worker_is_killed(self, make_plan, storage, start, tmp_path):
        n = 16 if "://" in storage else 40
        plan = make_plan(storage=storage, space=FLOATS, n_trials=n, lease_s=1e9)
        claims = enter(plan)
        ready, gate = tmp_path / "ready", tmp_path / "gate"
        ready.mkdir()
        workers = [start(take_part, plan, ready, 4, gate) for _ in range(4)]
        while len(claims.trials()) < n // 3 and any(worker.is_alive() for worker in workers):
            time.sleep(0.02)
        workers[0].kill()
        gate.touch()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0, 0, 0]
        trials = claims.trials()
        assert [trial.number for trial in trials] == list(range(n))
        assert {trial.state for trial in trials} == {TrialState.COMPLETE}
        assert {trial.user_attrs["worker"] for trial in trials} <= {worker.pid for worker in workers}
        assert len({tuple(trial.params.values()) for trial in trials}) == n
        expected = finish(join(make_plan(space=FLOATS, n_trials=n)))
        assert [trial.params for trial in trials] == [trial.params for trial in expected], "the worker does not matter"

    def test_the_trial_of_a_killed_worker_is_taken_over_at_once(self, make_plan, used_storage, start):
        """At the first claim, although leases never expire."""
        receiver, sender = Pipe(duplex=False)
        plan = make_plan(storage=used_storage, space=MIXED, n_trials=5, lease_s=1e9)
        expected = finish(join(make_plan(space=MIXED, n_trials=5)))
        claims = join(plan)
        assert claims.next().number == 0
        holder = start(take_and_wait, plan, sender)
        assert receiver.recv() == 1
        assert lead(claims, claims.next()), "a running worker keeps its trial"
        holder.kill()
        holder.join()
        sampling = start(die_while_sampling, plan, "n")
        sampling.join()
        assert sampling.exitcode == -signal.SIGKILL
        trials = claims.trials()
        assert [sorted(trials[number].params) for number in (1, 3)] == [["c", "n", "x", "y"], ["x", "y"]]
        again = [claims.next() for _ in range(3)]
        assert [trial.number for trial in again] == [1, 3, 4]
        assert [trial.params for trial in claims.trials()] == [trial.params for trial in expected]
        assert all(lead(claims, trial) for trial in again)


class TestLeases:
    @pytest.fixture
    def clock(self):
        class Clock:
            now = 0.0

            def __call__(self):
                return self.now

        return Clock()

    def test_heartbeats_keep_a_trial_and_without_them_it_is_lost(self, any_plan, clock):
        any_plan = replace(any_plan, n_trials=1)
        far, near = join(any_plan, ELSEWHERE), join(any_plan)
        near.watch.clock = clock
        trial = far.next()
        for _ in range(3):
            assert near.next() is Nothing.YET
            clock.now += 59.0
            assert near.next() is Nothing.YET
            assert far.beat(trial._trial_id)
        assert near.next() is Nothing.YET
        clock.now += 61.0
        taken = near.next()
        assert (taken.number, taken.params) == (trial.number, trial.params)
        before = snapshot(near)
        assert not far.beat(trial._trial_id)
        assert not lead(far, trial, late=True)
        far.give_back(trial._trial_id)
        assert snapshot(near) == before, "who has lost a trial cannot change it"
        assert near.beat(taken._trial_id) and lead(near, taken)
        before = snapshot(near)
        assert not near.beat(taken._trial_id)
        assert not lead(near, taken, twice=True) and not lead(far, trial, late=True)
        assert snapshot(near) == before
        assert near.next() is far.next() is Nothing.ANY_MORE

    def test_a_released_trial_is_the_next_one(self, any_plan):
        one, other = join(any_plan), join(any_plan)
        first, second = one.next(), other.next()
        one.give_back(first._trial_id)
        again = other.next()
        assert (again.number, again.params) == (0, first.params)
        assert second.number == 1
        assert not lead(one, first) and lead(other, again)

    def test_a_worker_may_get_its_released_trial_again(self, any_plan):
        claims = join(any_plan)
        first = claims.next()
        claims.give_back(first._trial_id)
        assert claims.next().number == 0 and lead(claims, first)

    def test_trials_of_exited_workers_come_before_new_ones(self, any_plan):
        claims = join(any_plan)
        assert claims.next().number == 0
        assert join(any_plan, exited()).next().number == 1
        assert [claims.next().number for _ in range(2)] == [1, 2]

    def test_earlier_reports_are_kept(self, any_plan):
        trial = join(any_plan, exited()).next()
        trial.report(0.5, 1)
        again = join(any_plan).next()
        assert again.study.trials[0].intermediate_values == {1: 0.5}


class TestFailWorker:
    def fail_worker(self, plan, message="killed"):
        """A worker claims a trial and exits; its parent reports this."""
        worker = replace(Owner.here(), pid=4_000_000, started=0.0)
        trial = join(plan, worker).next()
        assert isinstance(trial, Trial) and join(plan).fail_worker(worker.pid, message)
        return trial

    def test_a_trial_runs_again_after_one_crash_and_fails_after_two(self, plan):
        first = self.fail_worker(plan)
        assert join(plan).trials()[0].state == TrialState.RUNNING
        second = self.fail_worker(plan, "killed by SIGKILL (out of memory?)")
        assert (second.number, second.params) == (0, first.params)
        (trial,) = join(plan).trials()
        assert trial.state == TrialState.FAIL
        assert trial.user_attrs[FAILURE] == "killed by SIGKILL (out of memory?)"
        assert join(plan).next().number == 1

    def test_a_crash_is_counted_across_workers(self, plan):
        self.fail_worker(plan)
        claims = join(plan)
        claims.give_back(claims.next()._trial_id)
        join(plan, exited()).next()
        self.fail_worker(plan)
        assert join(plan).trials()[0].state == TrialState.FAIL

    def test_a_worker_without_a_trial_changes_none(self, plan):
        claims, far = join(plan), join(plan, replace(ELSEWHERE, pid=4_000_000))
        mine, theirs = claims.next(), far.next()
        before = snapshot(claims)
        assert not claims.fail_worker(4_000_000, "killed"), "a number of another machine"
        assert snapshot(claims) == before
        assert lead(claims, mine) and lead(far, theirs)
        assert not claims.fail_worker(os.getpid(), "killed"), "its trial is finished"


class TestCount:
    def test_there_are_n_trials(self, plan):
        assert [trial.number for trial in finish(join(plan))] == [0, 1, 2]
        assert join(plan).next() is Nothing.ANY_MORE
        assert [trial.number for trial in finish(join(replace(plan, n_trials=5)))] == [0, 1, 2, 3, 4]
        assert join(replace(plan, n_trials=1)).next() is Nothing.ANY_MORE

    def test_waiting_while_others_run_the_last_trials(self, plan):
        one, other = join(plan), join(plan)
        trials = [one.next() for _ in range(3)]
        assert other.next() is Nothing.YET
        assert all(lead(one, trial) for trial in trials)
        assert other.next() is Nothing.ANY_MORE

    def test_every_final_state_counts(self, plan):
        plan = replace(plan, max_failure_rate=1.0)
        claims = join(plan)
        for result in (failure("no"), Result(TrialState.PRUNED, None, {}, {}), failed(ValueError("no"))):
            trial = claims.next()
            assert claims.tell(trial.number, trial._trial_id, result)
        assert claims.next() is Nothing.ANY_MORE
        states = [trial.state for trial in claims.trials()]
        assert states == [TrialState.FAIL, TrialState.PRUNED, TrialState.FAIL]

    def test_too_many_failures_end_the_sweep(self, make_plan):
        plan = make_plan(n_trials=8, max_failure_rate=0.25)
        claims = join(plan)
        for number in range(3):
            trial = claims.next()
            assert trial.number == number, "two of eight may fail"
            claims.tell(trial.number, trial._trial_id, failure("no"))
        assert claims.next() is Nothing.AFTER_FAILURES
        assert join(plan, ELSEWHERE).next() is Nothing.AFTER_FAILURES
        assert join(replace(plan, max_failure_rate=0.5)).next().number == 3


class TestWaiting:
    def test_a_trial_enqueued_in_the_study_runs_and_counts(self, any_plan, plan):
        claims = join(any_plan)
        assert lead(claims, claims.next())
        dashboard = optuna.load_study(study_name=any_plan.study_name, storage=open_storage(any_plan.storage)[0])
        dashboard.enqueue_trial({"x": 0.125, "c": None}, user_attrs={"why": "curious"})
        trials = finish(claims)
        assert len(trials) == 3
        assert trials[1].params["x"] == 0.125 and trials[1].params["c"] is None
        assert trials[1].user_attrs["why"] == "curious" and trials[1].state == TrialState.COMPLETE
        expected = finish(join(plan))
        assert trials[1].params["n"] == expected[1].params["n"], "the rest is drawn as ever"
        assert trials[2].params == expected[2].params

    def test_beyond_n_trials_it_waits(self, any_plan):
        claims = join(any_plan)
        finish(claims)
        claims.study.enqueue_trial({"x": 0.125})
        assert claims.next() is Nothing.ANY_MORE
        assert claims.trials()[3].state == TrialState.WAITING
        assert len(finish(join(replace(any_plan, n_trials=4)))) == 4

    def test_each_waiting_trial_is_claimed_once(self, any_plan):
        claims = join(any_plan)
        for x in (0.125, 0.25, 0.375):
            claims.study.enqueue_trial({"x": x})
        taken = [join(any_plan).next() for _ in range(3)]
        assert [trial.params["x"] for trial in taken] == [0.125, 0.25, 0.375]
        assert [trial.number for trial in taken] == [0, 1, 2]
        assert claims.next() is Nothing.YET

    def test_enqueued_points_come_first(self, plan, make_plan):
        points = ({"x": 0.5, "y": 1e-2, "n": 9, "c": "b"}, {"c": None, "n": 1})
        trials = finish(join(replace(plan, enqueue=points)))
        assert trials[0].params == points[0]
        assert trials[1].params["n"] == 1 and trials[1].params["c"] is None
        expected = finish(join(make_plan(space=MIXED, n_trials=3)))
        assert trials[1].params["x"] == expected[1].params["x"]
        assert trials[2].params == expected[2].params

    def test_an_enqueued_point_survives_a_takeover(self, plan):
        plan = replace(plan, enqueue=({"x": 0.5, "c": "b"},))
        first = join(plan, exited()).next()
        again = join(plan).next()
        assert (again.number, again.params) == (0, first.params) and again.params["x"] == 0.5

    def test_points_enqueued_in_the_study_replace_none_of_the_plan(self, make_plan):
        plan = make_plan(space=FLOATS, n_trials=4, enqueue=({"x": 0.5}, {"x": 0.25}))
        claims = join(plan)
        claims.study.enqueue_trial({"x": 0.125})
        assert {0.125, 0.25, 0.5} <= {trial.params["x"] for trial in finish(claims)}


class Cut(BaseException):
    """Ctrl-C or another interruption while a trial is assigned."""


class Resumed:
    """A sweep in which every trial is interrupted, while it runs or while it gets its parameters."""

    def __init__(self, plan, monkeypatch) -> None:
        self.plan = plan
        self.monkeypatch = monkeypatch

    def finish(self) -> list:
        names = list(self.plan.space)
        for number in range(self.plan.n_trials):
            for name in names[number % 3 :: 2]:
                self.cut_at(name)
            trial = join(self.plan, exited()).next()
            again = join(self.plan)
            assert again.next().params == trial.params and trial.number == number
            assert lead(again, trial)
        return finish(join(self.plan))

    def cut_at(self, parameter) -> None:
        suggest = claim._suggest

        def cut(trial, name, distribution):
            if name == parameter:
                raise Cut
            suggest(trial, name, distribution)

        with self.monkeypatch.context() as patch, pytest.raises(Cut):
            patch.setattr(claim, "_suggest", cut)
            join(self.plan, exited()).next()


SAMPLERS = {
    "RandomSampler": (MIXED, {}),
    "TPESampler": (MIXED, {"n_startup_trials": 3}),
    "CmaEsSampler": (FLOATS, {"n_startup_trials": 1, "popsize": 3}),
    "QMCSampler": (FLOATS, {}),
    "GridSampler": (STEPS, {"search_space": None}),
    "BruteForceSampler": (STEPS, {}),
    "NSGAIISampler": (MIXED, {"population_size": 2}),
}


@pytest.mark.parametrize("name", SAMPLERS)
class TestSamplers:
    @pytest.fixture
    def planned_with(self, name, make_plan, foreign):
        if name == "CmaEsSampler" and find_spec("cmaes") is None:
            pytest.skip("cmaes is not installed (pip install cmaes)")
        space, arguments = SAMPLERS[name]

        def made(seed, **changes):
            sampler = foreign(f"optuna.samplers.{name}", seed=seed, **arguments)
            return make_plan(sampler, space=space, n_trials=6, **changes)

        return made

    def test_an_interrupted_sweep_draws_the_same_values(self, planned_with, name, monkeypatch):
        expected = finish(join(planned_with(1)))
        trials = Resumed(planned_with(1), monkeypatch).finish()
        assert [trial.params for trial in trials] == [trial.params for trial in expected]
        if name in ("GridSampler", "BruteForceSampler"):
            assert len({tuple(trial.params.values()) for trial in trials}) == 6, "every point once"
        elif name != "NSGAIISampler":  # which passes values on
            assert len({trial.params["x"] for trial in trials}) == 6

    def test_another_seed_draws_others(self, planned_with, name):
        if name == "QMCSampler":
            pytest.skip("its sequence is the same for all seeds, except the first trial")
        one, other = finish(join(planned_with(1))), finish(join(planned_with(2)))
        assert [trial.params for trial in one] != [trial.params for trial in other]

    def test_it_runs_without_a_seed(self, planned_with, name):
        trials = finish(join(planned_with(None)))
        if name in ("GridSampler", "BruteForceSampler"):
            assert len({tuple(trial.params.values()) for trial in trials}) == 6

    def test_finishing_a_trial_changes_no_draws(self, planned_with, name):
        claims = join(planned_with(1))
        for _ in range(4):
            lead(claims, claims.next())
        one, other = claims.next(), claims.next()
        lead(claims, one)
        before = drawn(claims, other)
        lead(claims, other)
        assert drawn(claims, other) == before


def test_a_worker_that_lost_a_trial_uses_results_of_others(make_plan, foreign):
    plan = make_plan(foreign("optuna.samplers.TPESampler", seed=1, n_startup_trials=1), space=FLOATS, n_trials=5)
    expected = finish(join(make_plan(plan.sampler, space=FLOATS, n_trials=5)))
    slow, other = join(plan, exited()), join(plan)
    lost = slow.next()
    for _ in range(4):
        assert lead(other, other.next())
    assert not lead(slow, lost)
    assert slow.next().params == expected[4].params


def test_an_enqueued_point_survives_an_interrupted_sequence(make_plan, foreign, monkeypatch):
    points = ({"x": 0.5}, {"x": 0.25}, {"x": 0.125})
    plan = make_plan(foreign("optuna.samplers.QMCSampler", seed=1), space=FLOATS, n_trials=3, enqueue=points)
    for _ in points:
        Resumed(plan, monkeypatch).cut_at("x")
        claims = join(plan)
        assert lead(claims, claims.next())
    assert [trial.params["x"] for trial in claims.trials()] == [0.5, 0.25, 0.125]


def test_a_sequence_is_followed_point_by_point(make_plan, foreign):
    """One worker draws the same points as Optuna, except the first, which is random."""
    plan = make_plan(foreign("optuna.samplers.QMCSampler", seed=1), space=FLOATS, n_trials=6)
    study_of_optuna = optuna.create_study(sampler=optuna.samplers.QMCSampler(seed=1))
    for _ in range(6):
        study_of_optuna.tell(study_of_optuna.ask(FLOATS), 0.0)
    trials = finish(join(plan))
    assert [trial.params for trial in trials[1:]] == [trial.params for trial in study_of_optuna.trials[1:]]


def test_parameters_outside_a_sequence_differ_between_trials(make_plan, foreign):
    plan = make_plan(foreign("optuna.samplers.QMCSampler", seed=1), space=FLOATS | {"z": FloatDistribution(0, 1)})
    claims = join(plan)
    first = claims.next()
    assert first.params["x"] != first.params["z"]
    drawn = set()
    for trial in (first, claims.next(), claims.next()):
        claims.study.sampler = claims.samplers.for_trial(trial.number)
        drawn.add(trial.suggest_float("own", 0.0, 1.0))
    assert len(drawn) == 3


class TestResults:
    def test_values_attributes_and_constraints_are_stored(self, plan):
        plan = replace(plan, objectives=("val/f1_macro", "cost/mb"), directions=("maximize", "minimize"))
        claims = join(plan)
        trial = claims.next()
        result = completed([0.75, 20.0], plan.objectives, {"metrics": {"val/loss": 0.5}}, {"cost/mb <= 25": -5.0})
        assert claims.tell(0, trial._trial_id, result)
        (finished,) = claims.trials()
        assert (finished.state, finished.values) == (TrialState.COMPLETE, [0.75, 20.0])
        assert finished.user_attrs["metrics"] == {"val/loss": 0.5}
        assert finished.constraints == {"cost/mb <= 25": -5.0}

    def test_a_constraint_may_be_set_again_after_an_interruption(self, plan):
        first = join(plan, exited()).next()
        first.set_constraint("cost/mb <= 25", -5.0)
        claims = join(plan)
        again = claims.next()
        result = completed([0.75], plan.objectives, {}, {"cost/mb <= 25": -5.0})
        assert claims.tell(0, again._trial_id, result)
        assert claims.trials()[0].constraints == {"cost/mb <= 25": -5.0}

    def test_a_pruned_trial_has_the_value_it_reported_last(self, plan):
        claims = join(plan)
        trial = claims.next()
        trial.report(0.5, 1)
        trial.report(0.25, 2)
        assert claims.tell(0, trial._trial_id, Result(TrialState.PRUNED, None, {}, {}))
        (finished,) = claims.trials()
        assert (finished.state, finished.value, finished.intermediate_values) == (
            TrialState.PRUNED,
            0.25,
            {1: 0.5, 2: 0.25},
        )

    def test_a_failure_has_its_message(self, plan):
        claims = join(plan)
        trial = claims.next()
        assert claims.tell(0, trial._trial_id, failed(ValueError("no\n  such [folder]")))
        (finished,) = claims.trials()
        assert finished.state == TrialState.FAIL and finished.user_attrs[FAILURE] == "ValueError: no such [folder]"

    def test_a_long_message_is_cut(self):
        assert len(failed(ValueError("x" * 10_000)).attributes[FAILURE]) == 500

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([None, 1.0], "val/f1_macro: the run returned no value"),
            ([0.5, math.nan], "cost/mb: is not a number"),
            ([math.nan, None], "val/f1_macro: is not a number"),
        ],
    )
    def test_a_trial_without_a_value_has_failed(self, values, message):
        result = completed(values, ["val/f1_macro", "cost/mb"], {"metrics": {}}, {"cost/mb <= 25": 1.0})
        assert (result.state, result.values) == (TrialState.FAIL, None)
        assert result.attributes[FAILURE] == message

    def test_values_may_be_infinite(self, plan):
        result = completed([math.inf], plan.objectives, {}, {})
        assert (result.state, result.values) == (TrialState.COMPLETE, [math.inf])
        claims = join(plan)
        assert claims.tell(0, claims.next()._trial_id, result)
        assert claims.trials()[0].values == [math.inf]


def test_the_lease_is_set_last(make_plan, monkeypatch):
    """Otherwise a trial with a lease could lack parameters."""
    claims = join(make_plan(space=MIXED))
    seen = []
    suggest = claim._suggest

    def watched(trial, name, distribution):
        seen.append(Lease.read(claims.trials()[0].user_attrs))
        suggest(trial, name, distribution)

    monkeypatch.setattr(claim, "_suggest", watched)
    claims.next()
    assert seen == [None] * 4
    assert Lease.read(claims.trials()[0].user_attrs) == Lease(claims.owner, 0, 0)
