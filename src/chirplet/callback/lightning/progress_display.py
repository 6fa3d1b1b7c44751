"""Progress display of a training run: a bar on a terminal, else lines."""

import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import STEP_OUTPUT
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from chirplet.data.batching.batches import text_count
from chirplet.metric.names import monitor_mode
from chirplet.system.console import console


class TrainingDisplay(pl.Callback):
    """Shows texts/s, time left, training loss and the best monitored metric.

    On a terminal a bar is updated every `refresh_s` seconds, else a line is printed every `line_s` seconds. The loss is
    read only then, because reading it waits for the device.
    """

    def __init__(self, monitor: str, refresh_s: float, line_s: float) -> None:
        self.monitor = monitor
        self.refresh_s = refresh_s
        self.line_s = line_s
        self.best: float | None = None
        self._console = console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._examples = 0
        self._seconds = 0.0
        self._mark = 0.0
        self._shown = 0.0
        self._begun = (0.0, 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and the bar on a terminal."""
        self._mark = self._shown = time.perf_counter()
        self._begun = self._mark, pl_steps(trainer)
        if not self._console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Progress(*columns, console=self._console, transient=True, refresh_per_second=1 / self.refresh_s)
        self._bar.start()
        self._task = self._bar.add_task("training", total=pl_total(trainer), note="", completed=pl_steps(trainer))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of this epoch."""
        self._examples, self._seconds = 0, 0.0
        self._mark = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count texts, and update the display when it is due."""
        now = time.perf_counter()
        self._seconds += now - self._mark
        self._mark = now
        self._examples += text_count(batch)
        if self._is_due(now):
            self._print_progress(trainer, now)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, because validation does not count as training."""
        self._seconds += time.perf_counter() - self._mark

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show how far the validation is, when it is due."""
        now = time.perf_counter()
        if trainer.sanity_checking or not self._is_due(now):
            return
        note = f"validating: {(batch_idx + 1) / trainer.num_val_batches[dataloader_idx]:.0%}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=note)
        else:
            self._console.print(f"{_epoch(trainer)}  {note}", highlight=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the metric, and restart the clock."""
        self._mark = time.perf_counter()
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or value is None:
            return
        better = min if monitor_mode(self.monitor) == "min" else max
        self.best = float(value) if self.best is None else better(self.best, float(value))
        self._print_epoch(trainer, f"  {self.monitor} {float(value):.4f}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch here if there is no validation."""
        if not trainer.enable_validation:
            self._print_epoch(trainer, "")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _is_due(self, now: float) -> bool:
        """Whether the display is to be updated at `now`; the next update is counted from there."""
        if now - self._shown < (self.line_s if self._bar is None else self.refresh_s):
            return False
        self._shown = now
        return True

    def _print_progress(self, trainer: pl.Trainer, now: float) -> None:
        loss = float(trainer.callback_metrics.get("train/batch_loss", float("nan")))
        best = "" if self.best is None else f"  best {self.monitor} {self.best:.4f}"
        note = f"{self._examples / self._seconds:.0f} texts/s  loss {loss:.3f}{best}"
        description = _epoch(trainer)
        steps, total = pl_steps(trainer), pl_total(trainer)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=steps, note=note, description=description)
            return
        begun, before = self._begun
        left = timedelta(seconds=round((now - begun) / (steps - before) * (total - steps)))
        self._console.print(f"{description}  {steps / total:.0%}  {left} left  {note}", highlight=False)

    def _print_epoch(self, trainer: pl.Trainer, tail: str) -> None:
        speed = self._examples / self._seconds if self._seconds else 0.0
        loss = float(trainer.callback_metrics.get("train/batch_loss", float("nan")))
        self._console.print(
            f"{_epoch(trainer)}  batch loss {loss:.4f}{tail}  {speed:.0f} texts/s  {self._seconds:.0f} s",
            highlight=False,
        )


def _epoch(trainer: pl.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"


def pl_total(trainer: pl.Trainer) -> int:
    """Training batches of the whole run."""
    return int(trainer.estimated_stepping_batches * trainer.accumulate_grad_batches)


def pl_steps(trainer: pl.Trainer) -> int:
    """Training batches done since the start of the run."""
    return trainer.fit_loop.total_batch_idx + 1
