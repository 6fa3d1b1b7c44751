"""Checkpoints that are whole or absent, and training that can be interrupted without loss."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities.types import STEP_OUTPUT

from chirplet.error import ArtifactError, Interrupted
from chirplet.whole import whole_file


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
            with whole_file(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch's zip writer turns a full disk into a RuntimeError of its own.
            raise ArtifactError(f"could not write the checkpoint {str(target)!r}: {error}") from error

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        """Read a checkpoint; tensors and plain values only, whoever wrote it."""
        return torch.load(path, map_location=map_location, weights_only=True)


class RandomState(pl.Callback):
    """Puts torch's random state into every checkpoint, so that dropout goes on as it would have."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The generators' states, as tensors."""
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until training starts; loading itself may draw numbers."""
        self._loaded = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set them."""
        if self._loaded is not None:
            torch.set_rng_state(self._loaded["cpu"].cpu())
            torch.cuda.set_rng_state_all([state.cpu() for state in self._loaded["cuda"]])
            self._loaded = None


class DurableEarlyStopping(EarlyStopping):
    """Also ends a run that is resumed from where it had ended: Lightning forgets that when it starts."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take no step more."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Interruption(pl.Callback):
    """On Ctrl-C or SIGTERM: finish the step at hand, save `interrupted.ckpt`, and end with the command to go on.

    It waits for a step after which Lightning can go on as if nothing had been: one that moved the weights (gradients
    being accumulated are in no checkpoint) and after which no validation is due. A second signal ends at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = False
        self._previous: dict[int, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen for signals, which Python lets the main thread alone do."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Save and leave, where that was asked for and can be done."""
        done = batch_idx + 1
        moved = done % trainer.accumulate_grad_batches == 0
        interval = trainer.val_check_batch  # infinite or None where nothing is validated within the epoch
        validation_due = trainer.is_last_batch or (interval is not None and done % interval == 0)
        if self.asked and moved and not validation_due:
            self.save_and_leave(trainer)

    def save_and_leave(self, trainer: pl.Trainer) -> NoReturn:
        """Write the checkpoint and raise `Interrupted`."""
        path = self.folder / "interrupted.ckpt"
        trainer.save_checkpoint(path)
        raise Interrupted(f"interrupted at step {trainer.global_step}; the same command with resume={path} goes on")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
