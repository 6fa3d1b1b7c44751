"""Leases: which worker runs a trial, and how other workers detect an abandoned one.

The lease of a running trial has its owner and a heartbeat counter. On the owner's machine, other workers check whether
its process runs. On other machines the lease expires when the counter has not changed for `lease_s` seconds by the
observer's clock, so the clocks need not be synchronized.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import psutil

ATTRIBUTE = "lease"
"""The trial's user attribute that holds the lease."""


@dataclass(frozen=True)
class Owner:
    """One worker: a unique `id`; host, process id and start (seconds since the epoch) identify its process."""

    id: str
    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> Self:
        """This process, as a new worker."""
        return cls(uuid.uuid4().hex, host_name(), os.getpid(), psutil.Process().create_time())

    def lives(self) -> bool | None:
        """Whether the process runs, or None if it is on another machine."""
        if self.host != host_name():
            return None
        try:
            process = psutil.Process(self.pid)
            # A zombie process is listed until its parent waits for it.
            is_running = process.status() != psutil.STATUS_ZOMBIE
            return bool(is_running and abs(process.create_time() - self.started) < 1.0)
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True)
class Lease:
    """A lease of a trial; `owner` is None after a release. `crashes` counts workers that crashed in the trial."""

    owner: Owner | None
    beat: int
    crashes: int

    @classmethod
    def read(cls, user_attrs: dict[str, Any]) -> Self | None:
        """The lease among a trial's user attributes, or None."""
        plain = user_attrs.get(ATTRIBUTE)
        if plain is None:
            return None
        owner = plain["owner"]
        return cls(None if owner is None else Owner(**owner), plain["beat"], plain["crashes"])

    def plain(self) -> dict[str, Any]:
        """The lease as plain data, for the storage."""
        return asdict(self)

    def next_beat(self) -> "Lease":
        """The lease with the next heartbeat."""
        return replace(self, beat=self.beat + 1)


class Watch:
    """One worker's observations of the other workers' leases."""

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease_s = lease_s
        self.clock = clock
        self._seen: dict[int, tuple[Lease, float]] = {}

    def has_run_out(self, number: int, lease: Lease | None) -> bool:
        """Whether the lease of the running trial `number` has expired.

        A trial without a lease was interrupted while it was assigned.
        """
        if lease is None or lease.owner is None:
            return True
        alive = lease.owner.lives()
        if alive is False:
            return True
        now = self.clock()
        before = self._seen.get(number)
        if before is None or before[0] != lease:
            self._seen[number] = (lease, now)
            return False
        # A process that exists without a heartbeat is stopped or hangs, so its trial is taken over too.
        return now - before[1] > self.lease_s


@cache
def host_name() -> str:
    """A name for this machine, equal for two processes that can see each other by process id.

    Machines can share a name, and containers a machine, so the name includes the boot id and the PID namespace.
    """
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    machine = boot.read_text().strip() if boot.exists() else f"{uuid.getnode():x}"
    return "/".join([socket.gethostname(), machine, str(space.readlink()) if space.exists() else ""])
