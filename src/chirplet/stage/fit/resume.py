"""`resume=auto`: the newest checkpoint of the same run in its folder. Others are refused, never overwritten."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from chirplet.callback.base import BEST, INTERRUPTED, LAST
from chirplet.callback.lightning.interruption import IDENTITY, Belonging
from chirplet.stage.run.identity import Identity, differences
from chirplet.system.command_line import argument
from chirplet.system.error import ConfigError

logger = logging.getLogger(__name__)

DEVICES = "trainer.devices"


def newest(folder: Path, identity: Identity) -> Path | None:
    """The checkpoint in `folder` that the run of that identity resumes from; None where there is none.

    Raises:
        ConfigError: it is another run's, or none of those there can be read.
    """
    found: dict[Path, dict[str, Any]] = {}
    # A run that was killed between the two has a best one that is newer than its last, which may name one that is gone.
    there = [path for path in (folder / LAST, folder / INTERRUPTED, *folder.glob(f"{BEST}*.ckpt")) if path.is_file()]
    for path in there:
        with suppress(Exception):  # on a damaged file torch raises exceptions of every kind; the other one may do
            found[path] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not there:
        return None
    if not found:
        raise ConfigError(f"resume: {str(there[0])!r} is damaged; give another hydra.run.dir, or resume=null")
    # Of those at the same step, one was saved within a validation, the others after it, last.ckpt at the end. Their
    # times would say the same, until somebody copies the folder.
    path = max(found, key=lambda path: (found[path].get("global_step", 0), path.name == LAST, path.name != INTERRUPTED))
    states = found[path].get("callbacks", {})
    written = states.get(Belonging.__qualname__, {}).get(IDENTITY)
    before = Identity(**written) if isinstance(written, dict) else None
    other = ["it does not say of which run"] if before is None else [*_differences(identity, before)]
    if other:
        raise ConfigError(
            f"resume: {str(path)!r} is of another run ({'; '.join(other)}); "
            f"give another hydra.run.dir, or resume=null to start anew there, or {argument('resume', path)} to "
            "resume all the same"
        )
    if before is not None and before.code != identity.code:
        logger.warning("resume: %s was written by another version of chirplet", path)
    return path


def _differences(identity: Identity, before: Identity) -> Iterator[str]:
    """What makes it another run; processes share their batches, so a run may resume with another number of them."""
    devices = identity.config.get(DEVICES)
    same_devices = before.config if devices is None else before.config | {DEVICES: devices}
    for _, line in differences(identity, replace(before, config=same_devices)):
        yield line
