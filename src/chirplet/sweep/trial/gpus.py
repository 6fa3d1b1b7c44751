"""Which GPUs each worker of a sweep computes on, where they run on this machine."""

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
"""What there is where CUDA can find a GPU: under Linux, and under Linux in Windows."""

ACCELERATOR_KEYS = {"trainer", "trainer.accelerator"}

COUNT = "import torch; print(torch.cuda.device_count())"


def worker_gpus(plan: Plan, workers: int, share: bool) -> list[dict[str, str]]:
    """For each worker what its environment is to say of GPUs; nothing where one worker has all or none needs any.

    Raises:
        ConfigError: there are fewer GPUs than the workers need, and they are not to `share` them.
    """
    if workers == 1 or not _may_use_gpus(plan):
        return [{}] * workers
    gpus = visible_gpus(os.environ.get(VISIBLE), gpu_count())
    devices = plan.config.get("trainer", {}).get("devices", 1)  # searched ones are not there
    parts = split_gpus(gpus, workers, devices, share)
    return [{VISIBLE: ",".join(part)} if part else {} for part in parts]


def gpu_count() -> int:
    """How many GPUs torch sees; another process asks it, since that takes its import and can initialise CUDA.

    Raises:
        ConfigError: that process failed, so that nobody knows.
    """
    if not any(driver.exists() for driver in DRIVERS):
        return 0
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise ConfigError(
            f"hydra.sweeper.n_jobs: torch could not count the GPUs ({exit_reason(done)}); trainer=cpu takes none"
        )
    return int(done.stdout)


def visible_gpus(named: str | None, count: int) -> list[str]:
    """Names of the `count` GPUs that CUDA sees: of those `named` in CUDA_VISIBLE_DEVICES, or all by number.

    CUDA takes names in their order, as far as they are valid.
    """
    if named is None:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in named.split(",")]
    if count and names[0].startswith("MIG-"):
        # A process sees one MIG instance however many are named, so they are not counted.
        return list(takewhile(lambda name: name.startswith("MIG-"), names))
    return names[:count]


def split_gpus(gpus: Sequence[str], workers: int, devices: int, share: bool) -> list[list[str]]:
    """The GPUs of each worker: an equal number of its own, or, where there are too few, `devices` in turn.

    Args:
        gpus: their names; where there are none, no worker has any.
        workers: how many run at the same time.
        devices: GPUs that each worker needs.
        share: whether several workers may have the same one.

    Raises:
        ConfigError: there are too few, and workers may not share them.
    """
    if not gpus:
        return [[]] * workers
    devices = min(devices, len(gpus))  # a trial that asks for more than there are says so itself
    if workers * devices > len(gpus) and not share:
        most = len(gpus) // devices
        raise ConfigError(
            f"hydra.sweeper.n_jobs: got {workers}, should be at most {most} (visible GPUs: {len(gpus)}, "
            f"each worker needs {devices}); hydra.sweeper.share_gpus=true lets workers share, trainer=cpu takes none"
        )
    size = max(devices, len(gpus) // workers)
    return [[gpus[(worker * size + place) % len(gpus)] for place in range(size)] for worker in range(workers)]


def _may_use_gpus(plan: Plan) -> bool:
    """Whether a trial may train on a GPU, which applications without our trainer are left to decide."""
    searched = {plain_key(name) for name in plan.space}
    if not searched.isdisjoint(ACCELERATOR_KEYS):
        return True
    trainer = plan.config.get("trainer")
    return isinstance(trainer, dict) and trainer.get("accelerator", "cpu") not in ("cpu", "mps")
