"""Assigning the GPUs of this machine to the workers of a sweep."""

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.space import plain_key
from chirplet.system.child_process import environment, exit_reason
from chirplet.system.error import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"

DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Files that exist if CUDA can see a GPU: on Linux, and on WSL."""

ACCELERATOR_KEYS = {"trainer", "trainer.accelerator"}

COUNT = "import torch; print(torch.cuda.device_count())"


def worker_gpus(plan: Plan, workers: int, share: bool) -> list[dict[str, str]]:
    """The environment variables that assign GPUs to each worker; none for a single worker or without GPUs.

    Raises:
        ConfigError: there are fewer GPUs than the workers need, and `share` is false.
    """
    if workers == 1 or not _may_use_gpus(plan):
        return [{}] * workers
    gpus = visible_gpus(os.environ.get(VISIBLE), gpu_count())
    devices = plan.config.get("trainer", {}).get("devices", 1)  # missing if it is searched
    parts = split_gpus(gpus, workers, devices, share)
    return [{VISIBLE: ",".join(part)} if part else {} for part in parts]


def gpu_count() -> int:
    """The number of GPUs that torch sees, counted in a child process, since torch is slow to import.

    Raises:
        ConfigError: the child process failed.
    """
    if not any(driver.exists() for driver in DRIVERS):
        return 0
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise ConfigError(
            f"hydra.sweeper.n_jobs: torch could not count the GPUs ({exit_reason(done)}); trainer=cpu needs none"
        )
    return int(done.stdout)


def visible_gpus(named: str | None, count: int) -> list[str]:
    """Names of the `count` GPUs that CUDA sees: the first of `named` (CUDA_VISIBLE_DEVICES), or their numbers.

    CUDA uses the names in order, up to the first invalid one.
    """
    if named is None:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in named.split(",")]
    if count and names[0].startswith("MIG-"):
        # A process sees only one MIG instance, however many are named, so `count` does not apply.
        return list(takewhile(lambda name: name.startswith("MIG-"), names))
    return names[:count]


def split_gpus(gpus: Sequence[str], workers: int, devices: int, share: bool) -> list[list[str]]:
    """The GPUs of each worker: disjoint parts of equal size, or `devices` in rotation if there are too few.

    Args:
        gpus: names of the GPUs; if empty, no worker gets one.
        workers: number of simultaneous workers.
        devices: GPUs that each worker needs.
        share: whether several workers may use the same GPU.

    Raises:
        ConfigError: there are too few, and `share` is false.
    """
    if not gpus:
        return [[]] * workers
    devices = min(devices, len(gpus))  # a trial that needs more raises an error itself
    if workers * devices > len(gpus) and not share:
        most = len(gpus) // devices
        raise ConfigError(
            f"hydra.sweeper.n_jobs: got {workers}, should be at most {most} (visible GPUs: {len(gpus)}, "
            f"each worker needs {devices}); hydra.sweeper.share_gpus=true lets workers share, trainer=cpu needs none"
        )
    size = max(devices, len(gpus) // workers)
    return [[gpus[(worker * size + index) % len(gpus)] for index in range(size)] for worker in range(workers)]


def _may_use_gpus(plan: Plan) -> bool:
    """Whether a trial may train on a GPU; False for applications without chirplet's trainer."""
    searched = {plain_key(name) for name in plan.space}
    if not searched.isdisjoint(ACCELERATOR_KEYS):
        return True
    trainer = plan.config.get("trainer")
    return isinstance(trainer, dict) and trainer.get("accelerator", "cpu") not in ("cpu", "mps")
