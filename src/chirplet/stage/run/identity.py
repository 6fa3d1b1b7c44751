"""The same command again: it resumes from what the one before it has left in the folder.

`resume=auto` takes the newest checkpoint of the run's own folder, if it is of the same run: same configuration but for
where things lie and who is told, same parents, same texts. What does not fit is refused, never trained over.
"""

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chirplet.artifact.artifact import Artifact, content_id
from chirplet.callback.base import BEST, INTERRUPTED, LAST
from chirplet.stage.run.context import AUTO, Run
from chirplet.system.error import ArtifactError, ConfigError, Interrupted

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

APART = ("logger",)
"""Groups that tell of a result and do not make it."""
PLACES = ("artifact", "teacher", "unlabeled_files", "resume")
"""Keys of a stage that say where things lie."""


def essentials(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a recorded configuration that makes the result."""
    stage = {key: value for key, value in config.get("stage", {}).items() if key not in PLACES}
    return {key: value for key, value in config.items() if key not in APART} | {"stage": stage}


def identity_of(run: Run, loader: "DataLoader[Any]") -> str:
    """SHA-256 over what makes the result of a training: its configuration, the ids of its parents, its texts.

    Not over the number of processes, which go through the same batches: a run may resume with another one.
    """
    from chirplet.data.batching.batches import Collate

    config = essentials(run.values)
    config["trainer"] = {key: value for key, value in config["trainer"].items() if key != "devices"}
    told = [config, [Artifact.open(parent).record.id for parent in run.parents]]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    collate = loader.collate_fn
    assert isinstance(collate, Collate)
    for rows in (collate.tokens.values, collate.tokens.offsets, collate.labels):
        if rows is not None:
            digest.update(np.ascontiguousarray(rows).data)  # tokens are mapped, not read into memory
    return digest.hexdigest()


def newest(folder: Path, identity: str) -> Path | None:
    """The checkpoint in `folder` that the run of that identity resumes from; None where there is none.

    Raises:
        ConfigError: it is another run's, or none of those there can be read.
    """
    import torch

    from chirplet.callback.lightning.interruption import IDENTITY, Belonging

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
    if states.get(Belonging.__qualname__, {}).get(IDENTITY) != identity:
        raise ConfigError(
            f"resume: {str(path)!r} is of a run with another configuration or other texts; "
            f"give another hydra.run.dir, or resume=null to start anew there, or resume={path} to go on all the same"
        )
    return path


def finished(run: Run, resume: str | None) -> Artifact | None:
    """The artifact that a run of the same configuration has made in this folder, if it is whole and is to be kept.

    Whether that run read the same texts and models, `chirplet.cli.same_inputs.reads_the_same` tells.
    """
    folder = run.output_dir / "artifact"
    if resume != AUTO or not folder.is_dir():
        return None
    try:
        artifact = Artifact.open(folder)
    except ArtifactError:
        return None
    same = essentials(artifact.record.config) == essentials(run.config) and artifact.record.id == content_id(folder)
    return artifact if same and not _from_environment(run) else None


def _from_environment(run: Run) -> bool:
    """Whether the environment gives what no record tells of, and so may have been another; texts are told of."""
    config, values = ({**essentials(told), "data": None} for told in (run.config, run.values))
    return config != values


@contextmanager
def interruptible(output_dir: Path, same_folder: str) -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and tell what of it is kept; `same_folder` is the override to go on.

    While a model is trained, `chirplet.callback.lightning.interruption.Interruption` listens instead.

    Raises:
        Interrupted: one of them came.
    """

    def end(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    listens = threading.current_thread() is threading.main_thread()
    listens = listens and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if listens:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt as error:
        kept = [path for way in ("", "*/", "*/*/") for path in output_dir.glob(f"{way}checkpoints/{LAST}")]
        if not kept:
            raise Interrupted("interrupted") from error
        newest_one = max(kept, key=lambda path: path.stat().st_mtime_ns)
        raise Interrupted(
            f"interrupted; what was trained is in {newest_one}, and the same command with {same_folder} resumes from it"
        ) from error
    finally:
        if listens:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
