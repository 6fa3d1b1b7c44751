"""Checkpoints that are written atomically, and training that can be interrupted without loss."""

import math
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from pytorch_lightning.utilities.types import STEP_OUTPUT

from chirplet.callback.base import INTERRUPTED, LAST
from chirplet.system.atomic_io import atomic_file
from chirplet.system.error import ArtifactError, ConfigError, Interrupted, first_line

IDENTITY = "run"
PROCESSES = "processes"
"""Keys of `Belonging`'s state."""
VALIDATED = "epoch_loop.val_loop.batch_progress"
"""Where Lightning's checkpoints count the batches that were validated."""


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary sibling, flushes, renames; reads with `weights_only=True`.

    Lightning's own way stages in `$TMPDIR`, which may be another file system, where a move is a copy that can tear.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path`, or leave what was there.

        Raises:
            ArtifactError: the disk is full or the place cannot be written.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch's zip writer turns a full disk into a RuntimeError of its own, of many lines.
            cause = error if isinstance(error, OSError) else error.__context__
            reason = getattr(cause, "strerror", None) or first_line(error)
            raise ArtifactError(f"could not write the checkpoint {str(target)!r}: {reason}") from error

    def load_checkpoint(self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = None) -> Any:
        """Read a checkpoint; tensors and plain values only, whoever wrote it and whichever GPU it was on."""
        return torch.load(path, map_location=map_location, weights_only=True)


class MovableCheckpoint(ModelCheckpoint):
    """Still knows the best checkpoints so far when their folder was renamed, copied or mounted elsewhere.

    Lightning stores absolute paths, and drops them and the scores where the folder is another one; whatever is
    validated next then passes for the best. All checkpoints of a run lie in one folder, so their names are enough.
    """

    @property
    def state_key(self) -> str:
        """The key of Lightning's class, under which checkpoints of earlier versions have the state."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores, and the paths as they are in this folder.

        Raises:
            ConfigError: the best checkpoint so far is not in it.
        """
        here = {
            name: self._here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")
        }
        best = Path(here["best_model_path"])
        if self.monitor is not None and here["best_model_path"] and not best.is_file():
            raise ConfigError(
                f"resume: {str(best.parent)!r} lacks {best.name!r}, the best checkpoint so far; "
                "copy it there too, or resume=null to start anew"
            )
        scores = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | here | {"dirpath": self.dirpath, "best_k_models": scores})

    def _here(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else ""


class RandomState(pl.Callback):
    """Puts torch's random state into every checkpoint, so that dropout goes on as it would have."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The generators' states, as tensors; of GPUs that of the one that this process computes on."""
        return {
            "cpu": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until training starts; loading itself may draw numbers."""
        self._loaded = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set them."""
        if self._loaded is not None:
            torch.set_rng_state(self._loaded["cpu"].cpu())
            # Earlier versions saved the state of every GPU, of which the process that saves has the first one.
            if self._loaded["cuda"] and torch.cuda.is_initialized():
                torch.cuda.set_rng_state(self._loaded["cuda"][0].cpu())
            self._loaded = None


class DurableEarlyStopping(EarlyStopping):
    """Also ends a run that is resumed from where it had ended: Lightning forgets that when it starts."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take no step more."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Belonging(pl.Callback):
    """Puts into every checkpoint the identity of the run, so that none is taken for another run's, and who trained."""

    def __init__(self, identity: dict[str, Any], processes: int) -> None:
        self.identity = identity
        self.processes = processes

    def state_dict(self) -> dict[str, Any]:
        """What `chirplet.stage.fit.resume.newest` compares, and the number of processes that train together."""
        return {IDENTITY: self.identity, PROCESSES: self.processes}


class Interruption(pl.Callback):
    """On Ctrl-C or SIGTERM: save `interrupted.ckpt` within the step, and end with the way to go on.

    Between steps it waits for one after which Lightning can go on as if nothing had been: one that moved the weights
    (gradients being accumulated are in no checkpoint) and after which no validation is due. Within a validation, and
    before one that is due, it leaves at once: Lightning, which validates after a step that it has counted as done,
    restarts a validation whose one step was begun and not ended, so that is what is saved, with no batch counted. The
    validation is then done anew, by the same weights. (Averaged weights are put back first: while it validates,
    Lightning has them and the trained ones swapped.) So a checkpoint comes after one step or one batch at most,
    `accumulate_grad_batches` steps where there are several. Validations in the midst of accumulated gradients are
    waited for. Of several processes the first one alone has this, and leaves without the others' consent. A second
    signal ends at once.

    Every `every_minutes` since the last one it also saves `last.ckpt`, at such a step.
    """

    def __init__(self, folder: Path, every_minutes: float | None) -> None:
        self.folder = folder
        self.every_s = math.inf if every_minutes is None else 60 * every_minutes
        self.asked = False
        self._saved = time.monotonic()
        self._validates_anew = False
        self._max_steps: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Listen for signals, which Python lets the main thread alone do."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._listen()
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen again: Lightning has put a handler of its own in front, which ends without saving."""
        self._listen()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a run whose last step was done make the validation that it still owes."""
        begun = checkpoint["loops"]["fit_loop"][VALIDATED]["total"]
        if begun["started"] > begun["processed"] and 0 <= trainer.max_steps <= checkpoint["global_step"]:
            self._max_steps = trainer.max_steps
            trainer.fit_loop.epoch_loop.max_steps = checkpoint["global_step"] + 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen as before the sanity check, and count the minutes from here."""
        self._listen()
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time to, and leave where that was asked for."""
        done = batch_idx + 1
        interval = trainer.val_check_batch  # infinite or None where nothing is validated within the epoch
        validation_due = trainer.is_last_batch or (interval is not None and done % interval == 0)
        if validation_due or done % trainer.accumulate_grad_batches:
            return
        if self.asked:
            self.save_and_leave(trainer)
        if time.monotonic() - self._saved > self.every_s:
            trainer.save_checkpoint(self.folder / LAST)
            self._saved = time.monotonic()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what was changed to come here: a checkpoint after this validation is one like any other."""
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps, self._max_steps = self._max_steps, None

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Save and leave, where that was asked for."""
        if not self.asked or trainer.sanity_checking:
            return
        trained = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if trainer.is_last_batch or trained % trainer.accumulate_grad_batches == 0:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):
                    callback.on_validation_epoch_end(trainer, pl_module)
            self._validates_anew = True
            self.save_and_leave(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last checkpoint is written now."""
        self._saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Within a validation: as if it had just begun."""
        if self._validates_anew:
            none = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
            begun = {"total": none | {"ready": 1, "started": 1}, "current": none, "is_last_batch": False}
            checkpoint["loops"]["fit_loop"][VALIDATED] = begun

    def save_and_leave(self, trainer: pl.Trainer) -> NoReturn:
        """Write the checkpoint and raise `Interrupted`."""
        path = self.folder / INTERRUPTED
        trainer.save_checkpoint(path)
        raise Interrupted(f"interrupted at step {trainer.global_step}; the same command with resume={path} continues")

    def _listen(self) -> None:
        for number in self._previous:
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
