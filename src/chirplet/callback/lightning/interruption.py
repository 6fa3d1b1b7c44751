"""Atomic checkpoints, and training that can be interrupted and resumed exactly."""

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
from chirplet.system.command_line import argument
from chirplet.system.ending_signals import handlers_to_replace, leave_closed_terminal
from chirplet.system.error import ArtifactError, ConfigError, Interrupted, first_line

IDENTITY = "run"
PROCESSES = "processes"
"""Keys of `Belonging`'s state."""
VALIDATED = "epoch_loop.val_loop.batch_progress"
"""Where Lightning's checkpoints count the batches that were validated."""


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, and reads them with `weights_only=True`.

    Lightning writes to `$TMPDIR` first, which may be another file system, from which a move is not atomic.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path` atomically.

        Raises:
            ArtifactError: the disk is full, or the folder is not writable.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch's zip writer raises a RuntimeError of many lines if the disk is full.
            cause = error if isinstance(error, OSError) else error.__context__
            reason = getattr(cause, "strerror", None) or first_line(error)
            raise ArtifactError(f"could not write the checkpoint {str(target)!r}: {reason}") from error

    def load_checkpoint(self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = None) -> Any:
        """Read a checkpoint; only tensors and plain values are loaded, by default to the CPU."""
        return torch.load(path, map_location=map_location, weights_only=True)


class MovableCheckpoint(ModelCheckpoint):
    """Restores the best checkpoints also after their folder was renamed, copied or mounted elsewhere.

    Lightning stores absolute paths and discards them, with the scores, if the folder differs, so that the next
    validation counts as the best. All checkpoints of a run are in one folder, so their names suffice.
    """

    @property
    def state_key(self) -> str:
        """The key of Lightning's class, which checkpoints of earlier versions use."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores, with paths in the current folder.

        Raises:
            ConfigError: the best checkpoint so far is not in the folder.
        """
        moved = {
            name: self._moved(state_dict[name])
            for name in ("best_model_path", "kth_best_model_path", "last_model_path")
        }
        best = Path(moved["best_model_path"])
        if self.monitor is not None and moved["best_model_path"] and not best.is_file():
            raise ConfigError(
                f"resume: {str(best.parent)!r} lacks {best.name!r}, the best checkpoint so far; "
                "copy it there too, or set resume=null to start from the beginning"
            )
        scores = {self._moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"dirpath": self.dirpath, "best_k_models": scores})

    def _moved(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else ""


class RandomState(pl.Callback):
    """Saves torch's random state in every checkpoint, so that a resumed run has the same dropout."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """States of the generators of the CPU and of this process's GPU, as tensors."""
        return {
            "cpu": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the states until training starts, because loading may draw random numbers."""
        self._loaded = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the states."""
        if self._loaded is not None:
            torch.set_rng_state(self._loaded["cpu"].cpu())
            # Earlier versions saved the states of all GPUs; the saving process uses the first one.
            if self._loaded["cuda"] and torch.cuda.is_initialized():
                torch.cuda.set_rng_state(self._loaded["cuda"][0].cpu())
            self._loaded = None


class DurableEarlyStopping(EarlyStopping):
    """Keeps a run stopped that is resumed after early stopping; Lightning resets this when it starts."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before the first step."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Belonging(pl.Callback):
    """Saves the run's identity and number of processes in every checkpoint, so that it resumes only the same run."""

    def __init__(self, identity: dict[str, Any], processes: int) -> None:
        self.identity = identity
        self.processes = processes

    def state_dict(self) -> dict[str, Any]:
        """The identity, which `chirplet.stage.run.identity.newest` compares, and the number of processes."""
        return {IDENTITY: self.identity, PROCESSES: self.processes}


class Interruption(pl.Callback):
    """On Ctrl-C or a signal that ends runs, save `interrupted.ckpt` and raise `Interrupted` with the command to resume.

    During training, the checkpoint is saved after a batch from which Lightning can resume exactly: the optimizer made a
    step (checkpoints contain no accumulated gradients) and no validation is due. This takes at most
    `accumulate_grad_batches` batches.

    During a validation, and if one is due, the checkpoint is saved before the next validation batch. Lightning
    validates after it has counted the training step, and restarts a validation that was started but has no finished
    batch. The checkpoint is saved in that state, so that the validation is repeated with the same weights. Averaged
    weights are swapped back first, because Lightning swaps them with the trained ones during validation. A validation
    between accumulated gradients is completed first.

    With several processes only the first one has this callback, and it exits without the others. A Ctrl-C after the
    first signal ends the process immediately.

    The callback also saves `last.ckpt` after such a batch if the last checkpoint is older than `every_minutes`.
    """

    def __init__(self, folder: Path, every_minutes: float | None) -> None:
        self.folder = folder
        self.every_s = math.inf if every_minutes is None else 60 * every_minutes
        self.asked = False
        self._saved = time.monotonic()
        self._repeats_validation = False
        self._max_steps: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install signal handlers, which Python allows in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            self._previous = handlers_to_replace()
        self._listen()
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers again, because Lightning has replaced them by ones that do not save."""
        self._listen()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Allow a run that was interrupted after its last step to repeat the validation."""
        total = checkpoint["loops"]["fit_loop"][VALIDATED]["total"]
        if total["started"] > total["processed"] and 0 <= trainer.max_steps <= checkpoint["global_step"]:
            self._max_steps = trainer.max_steps
            trainer.fit_loop.epoch_loop.max_steps = checkpoint["global_step"] + 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers again, and start the timer."""
        self._listen()
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint if one is due, and leave if a signal was received."""
        done = batch_idx + 1
        interval = trainer.val_check_batch  # infinite or None without validation within the epoch
        validation_due = trainer.is_last_batch or (interval is not None and done % interval == 0)
        if validation_due or done % trainer.accumulate_grad_batches:
            return
        if self.asked:
            self.save_and_leave(trainer)
        if time.monotonic() - self._saved > self.every_s:
            trainer.save_checkpoint(self.folder / LAST)
            self._saved = time.monotonic()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset what `on_load_checkpoint` changed, so that later checkpoints are ordinary ones."""
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps, self._max_steps = self._max_steps, None

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Save and leave if a signal was received."""
        if not self.asked or trainer.sanity_checking:
            return
        trained = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if trainer.is_last_batch or trained % trainer.accumulate_grad_batches == 0:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):
                    callback.on_validation_epoch_end(trainer, pl_module)
            self._repeats_validation = True
            self.save_and_leave(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the timer, because a checkpoint is written now."""
        self._saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Within a validation, save the state in which it has just started."""
        if self._repeats_validation:
            zero = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
            started = {"total": zero | {"ready": 1, "started": 1}, "current": zero, "is_last_batch": False}
            checkpoint["loops"]["fit_loop"][VALIDATED] = started

    def save_and_leave(self, trainer: pl.Trainer) -> NoReturn:
        """Write the checkpoint and raise `Interrupted`."""
        path = self.folder / INTERRUPTED
        trainer.save_checkpoint(path)
        raise Interrupted(
            f"interrupted at step {trainer.global_step}; to resume, add {argument('resume', path)} to the same command"
        )

    def _listen(self) -> None:
        for number in self._previous:
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        leave_closed_terminal()
        self.asked = True
