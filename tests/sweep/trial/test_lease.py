"""A lease expires when its owner exits, or when it has not changed for too long."""

import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from chirplet.sweep.trial.lease import ATTRIBUTE, Lease, Owner, Watch, host_name

ELSEWHERE = Owner("other", "another-host/boot/pid:[1]", 1, 1.7e9)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    return Watch(60.0, clock)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def owner_of(process) -> Owner:
    return Owner("its", host_name(), process.pid, psutil.Process(process.pid).create_time())


class TestOwner:
    def test_this_process_runs(self):
        assert Owner.here().lives() is True

    def test_workers_of_one_process_differ(self):
        assert Owner.here() != Owner.here()

    def test_another_process_runs_until_it_is_killed(self, sleeper):
        owner = owner_of(sleeper)
        assert owner.lives() is True
        sleeper.kill()
        sleeper.wait()
        assert owner.lives() is False

    def test_a_zombie_does_not_run(self, sleeper):
        # In a container without a process that reaps orphans, it stays in the process list.
        owner = owner_of(sleeper)
        sleeper.kill()
        process = psutil.Process(sleeper.pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
        assert owner.lives() is False

    def test_a_later_process_with_the_same_id_is_another(self):
        assert replace(Owner.here(), started=Owner.here().started - 5).lives() is False

    def test_another_machine_cannot_be_seen(self):
        assert ELSEWHERE.lives() is None
        assert replace(Owner.here(), host=ELSEWHERE.host).lives() is None


class TestLease:
    @pytest.mark.parametrize("owner", [ELSEWHERE, None])
    def test_it_is_read_as_it_was_written(self, owner):
        lease = Lease(owner, 3, 1)
        assert Lease.read({"seconds": 1.0, ATTRIBUTE: lease.plain()}) == lease

    def test_a_trial_may_have_none(self):
        assert Lease.read({"seconds": 1.0}) is None

    def test_a_beat_changes_nothing_else(self):
        assert Lease(ELSEWHERE, 3, 1).next_beat() == Lease(ELSEWHERE, 4, 1)


class TestWatch:
    def test_without_a_lease_or_an_owner_a_trial_is_free_at_once(self, watch):
        assert watch.has_run_out(0, None)
        assert watch.has_run_out(0, Lease(None, 7, 0))

    def test_the_trial_of_an_exited_owner_is_free_at_once(self, watch):
        assert watch.has_run_out(0, Lease(replace(Owner.here(), started=0.0), 7, 0))

    @pytest.mark.parametrize("owner", [ELSEWHERE, Owner.here()])
    def test_an_unchanged_lease_expires(self, watch, clock, owner):
        lease = Lease(owner, 7, 0)
        assert not watch.has_run_out(0, lease)
        clock.now += 60.0
        assert not watch.has_run_out(0, lease)
        clock.now += 0.1
        assert watch.has_run_out(0, lease)

    def test_each_heartbeat_restarts_the_time(self, watch, clock):
        lease = Lease(ELSEWHERE, 0, 0)
        for _ in range(5):
            assert not watch.has_run_out(0, lease)
            clock.now += 59.0
            assert not watch.has_run_out(0, lease)
            lease = lease.next_beat()
        clock.now += 59.0
        assert not watch.has_run_out(0, lease)

    def test_time_before_the_first_observation_does_not_count(self, watch, clock):
        clock.now += 1e6
        assert not watch.has_run_out(0, Lease(ELSEWHERE, 0, 0))

    def test_a_new_owner_restarts_the_time(self, watch, clock):
        assert not watch.has_run_out(0, Lease(ELSEWHERE, 0, 0))
        clock.now += 61.0
        assert not watch.has_run_out(0, Lease(replace(ELSEWHERE, id="next"), 0, 0))

    def test_trials_are_observed_separately(self, watch, clock):
        still, moving = Lease(ELSEWHERE, 0, 0), Lease(ELSEWHERE, 5, 0)
        assert not watch.has_run_out(0, still) and not watch.has_run_out(1, moving)
        clock.now += 61.0
        assert not watch.has_run_out(1, moving.next_beat())
        assert watch.has_run_out(0, still)
