"""A process that trains along with the one that started it and sent it a `Peer`."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from chirplet.data.batching.batches import Shard
from chirplet.stage.fit.callbacks import training_callbacks
from chirplet.stage.fit.ddp_group import joined
from chirplet.stage.fit.seeding import seed_everything
from chirplet.stage.run.context import Run
from chirplet.system.child_process import ERROR, received
from chirplet.system.error import UserError
from chirplet.system.hardware import keep_freed_memory


class Following(pl.Callback):
    """What a process minds that follows another one.

    Its random numbers depend on where it is alone, so that a run that resumes from a checkpoint, which has those of the
    first process, has the same ones. It leaves signals to the first process, and goes when that does.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self.seed = seed
        self.rank = rank

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take no notice of a signal, which Lightning would: it has put its own handler there by now."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed dropout."""
        place = np.random.SeedSequence([self.seed, self.rank, trainer.current_epoch, batch_idx])
        torch.manual_seed(int(place.generate_state(1)[0]))


@dataclass(frozen=True)
class DDPTask:
    """One share of a training: what `chirplet.stage.fit.fit.fit` was given, and where the processes meet."""

    run: Run
    module: pl.LightningModule
    train_loader: DataLoader[Any]
    val_loader: DataLoader[Any] | None
    checkpoint: str | None
    meeting: Path
    shard: Shard
    threads: int

    def work(self) -> None:
        """Train to the end; the result is the first process's too."""
        seed_everything(self.run)
        (self.meeting / f"{self.shard.rank}.ready").touch()
        loaders = [loader for loader in (self.train_loader, self.val_loader) if loader is not None]
        with joined(self.run, self.meeting, self.shard, self.threads, loaders):
            self._follow()

    def _follow(self) -> None:
        """Train with the callbacks that decide something, so that all processes agree on what comes next."""
        run, checkpoint = self.run, self.checkpoint
        if run.trainer.keep_freed_memory:
            keep_freed_memory()
        folder = run.output_dir if checkpoint is None else Path(checkpoint).parent  # it writes nothing there
        callbacks = training_callbacks(run, folder, self.val_loader is not None)
        following = Following(run.seed, self.shard.rank)
        trainer = run.trainer.build([*callbacks, following], [], run.deterministic, run.output_dir, self.shard)
        trainer.fit(self.module, self.train_loader, self.val_loader, ckpt_path=checkpoint, weights_only=True)


def main() -> None:
    """Receive the share and work on it."""
    import chirplet.module.pruning  # noqa: F401 - imported while the first process still pickles

    try:
        received().work()
    except UserError as error:
        sys.stderr.writelines(f"{ERROR}{line}\n" for line in str(error).splitlines())
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
