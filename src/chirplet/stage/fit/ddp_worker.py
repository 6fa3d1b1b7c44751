"""A worker process of distributed training, which receives a `DDPTask` from the process that started it."""

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
from chirplet.system.ending_signals import ignore_signals
from chirplet.system.error import UserError
from chirplet.system.hardware import keep_freed_memory


class Following(pl.Callback):
    """Seeds a worker at each step and makes it ignore signals.

    The seed depends on rank, epoch and batch only. A resumed run thus has the same random numbers, although the
    checkpoint stores only the first process's state. The first process handles signals and ends its workers.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self.seed = seed
        self.rank = rank

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ignore signals again, since Lightning has just installed a handler of SIGTERM."""
        ignore_signals()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed dropout."""
        sequence = np.random.SeedSequence([self.seed, self.rank, trainer.current_epoch, batch_idx])
        torch.manual_seed(int(sequence.generate_state(1)[0]))


@dataclass(frozen=True)
class DDPTask:
    """What a worker receives: the arguments of `chirplet.stage.fit.fit.fit`, its shard and the meeting folder."""

    run: Run
    module: pl.LightningModule
    train_loader: DataLoader[Any]
    val_loader: DataLoader[Any] | None
    checkpoint: str | None
    meeting: Path
    shard: Shard
    threads: int

    def work(self) -> None:
        """Train to the end. The first process ends with the same weights."""
        seed_everything(self.run)
        (self.meeting / f"{self.shard.rank}.ready").touch()
        loaders = [loader for loader in (self.train_loader, self.val_loader) if loader is not None]
        with joined(self.run, self.meeting, self.shard, self.threads, loaders):
            self._fit()

    def _fit(self) -> None:
        """Fit with the same callbacks as the first process, so that all agree on early stopping."""
        run, checkpoint = self.run, self.checkpoint
        if run.trainer.keep_freed_memory:
            keep_freed_memory()
        folder = run.output_dir if checkpoint is None else Path(checkpoint).parent  # it writes nothing there
        callbacks = training_callbacks(run, folder, self.val_loader is not None)
        following = Following(run.seed, self.shard.rank)
        batches = len(self.train_loader)
        trainer = run.trainer.build([*callbacks, following], [], run.deterministic, run.output_dir, batches, self.shard)
        trainer.fit(self.module, self.train_loader, self.val_loader, ckpt_path=checkpoint, weights_only=True)


def main() -> None:
    """Receive the task and carry it out."""
    ignore_signals()
    import chirplet.module.pruning  # noqa: F401 - imported while the first process still pickles

    try:
        received().work()
    except UserError as error:
        sys.stderr.writelines(f"{ERROR}{line}\n" for line in str(error).splitlines())
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
