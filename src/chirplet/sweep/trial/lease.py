"""Who runs a trial, and how another worker tells that nobody does any more.

A running trial carries a lease: its owner and a count that the owner raises while it lives. On the owner's own
machine the process is simply looked for; elsewhere the lease has run out when the count has stood still for
`lease_s` seconds by the observer's clock, so the machines' clocks need not agree.
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
    """One worker: `id` is unique, host, process id and the process's start (seconds since 1970) find its process."""

    id: str
    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> Self:
        """This process, as a new worker."""
        return cls(uuid.uuid4().hex, host_name(), os.getpid(), psutil.Process().create_time())

    def lives(self) -> bool | None:
        """Whether the process runs, or None where it cannot be seen from here."""
        if self.host != host_name():
            return None
        try:
            process = psutil.Process(self.pid)
            # One that nobody waits for stays in the list for ever.
            there = process.status() != psutil.STATUS_ZOMBIE
            return bool(there and abs(process.create_time() - self.started) < 1.0)
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True)
class Lease:
    """An owner's hold on a trial; `owner` is None where it was given back. `crashes` are workers the trial has cost."""

    owner: Owner | None
    beat: int
    crashes: int

    @classmethod
    def read(cls, user_attrs: dict[str, Any]) -> Self | None:
        """The lease among a trial's user attributes, or None where there is none."""
        plain = user_attrs.get(ATTRIBUTE)
        if plain is None:
            return None
        owner = plain["owner"]
        return cls(None if owner is None else Owner(**owner), plain["beat"], plain["crashes"])

    def plain(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)

    def next_beat(self) -> "Lease":
        """The same lease with a sign of life."""
        return replace(self, beat=self.beat + 1)


class Watch:
    """What one worker has seen of the others' leases."""

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease_s = lease_s
        self.clock = clock
        self._seen: dict[int, tuple[Lease, float]] = {}

    def has_run_out(self, number: int, lease: Lease | None) -> bool:
        """Whether the running trial `number` is nobody's any more.

        A trial without a lease was cut off while it was handed out.
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
        # A process that is there and gives no sign is stopped or hangs; its trial is taken all the same.
        return now - before[1] > self.lease_s


@cache
def host_name() -> str:
    """This machine as processes see it: equal for two that can look for each other by process id.

    Machines may share a name, and containers a machine: the boot and the name space of process ids tell them apart.
    """
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    machine = boot.read_text().strip() if boot.exists() else f"{uuid.getnode():x}"
    return "/".join([socket.gethostname(), machine, str(space.readlink()) if space.exists() else ""])
