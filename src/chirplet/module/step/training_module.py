"""A Lightning module whose training steps are carried out by Lightning's hooks, or captured in CUDA graphs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
)

from chirplet.data.batching.batches import Batch, text_count
from chirplet.data.batching.distributed import several
from chirplet.module.step.captured import BATCH_LOSS, CapturedStep
from chirplet.module.step.optimizer import RowwiseAdamW, clip_gradients
from chirplet.system.cuda_graphs import Captured

SCHEDULES: dict[str, Callable[[Optimizer, int, int], LambdaLR]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": lambda optimizer, warmup, steps: get_constant_schedule_with_warmup(optimizer, warmup),
}
"""Schedules by name: linear warm-up, then the decay. Each takes the optimizer, the warm-up steps and all steps."""


@dataclass(frozen=True)
class Optimization:
    """AdamW's parameter groups with their learning rates, and the schedule over `steps` optimizer steps."""

    groups: list[dict[str, Any]]
    schedule: str
    warmup_fraction: float
    steps: int


class TrainingModule(pl.LightningModule, ABC):
    """Trains on the losses of batches with AdamW.

    With `captures`, set before the training, a `CapturedStep` does the work of Lightning's hooks for backward pass,
    clipping and optimizer. Lightning still counts steps, sets learning rates, calls the other hooks and saves. What
    validation infers is captured too.
    """

    captures: bool = False

    def __init__(self, optimization: Optimization) -> None:
        super().__init__()
        self.optimization = optimization
        self.captured: CapturedStep | None = None
        self.captured_lengths: list[int] | None = None
        self._captured_forward: Captured | None = None

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Logits, shape (batch, classes), float32."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The mean loss to minimize, `batch_loss`, and its parts: scalars, logged as `train/NAME`."""

    def hold(self) -> None:
        """Called after each optimizer step."""

    @property
    def uncapturable(self) -> str | None:
        """Why the step cannot be captured; None if it can."""
        return None

    def on_train_start(self) -> None:
        """Prepare the captured step, when a checkpoint has been restored."""
        if self.captures:
            self.captured = CapturedStep(
                self,
                self.trainer.optimizers[0],
                getattr(self.trainer.precision_plugin, "scaler", None),
                self.trainer.gradient_clip_val,
                self.trainer.accumulate_grad_batches,
                self.device,
            )
            self._captured_forward = Captured(lambda batch: {"logits": self(batch)}, self.device)

    def inferred(self, batch: Batch) -> Tensor:
        """What `forward` returns, without gradients; captured if the training is."""
        if self._captured_forward is None:
            return self(batch)  # type: ignore[no-any-return]
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return self._captured_forward(inputs)["logits"].clone()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Mean loss of one batch, or this process's share of it."""
        if self.captured is None:
            losses = self.losses(batch)
        else:
            each, done = self.trainer.accumulate_grad_batches, batch_index + 1
            last = done % each == 0 or self.trainer.is_last_batch
            losses = self.captured(batch, batch_index % each == 0, last)
        # Logging costs several kernels, and CUDA graphs leave no other.
        if self.captured is None or (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            logged = {f"train/{name}": loss.detach() for name, loss in losses.items()}
            self.log_dict(logged, batch_size=text_count(batch), sync_dist=several())
        return losses[BATCH_LOSS]

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Lightning's backward pass, which a captured step has done."""
        if self.captured is None:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Remove the gradients, which a captured step does."""
        if self.captured is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def on_validation_model_zero_grad(self) -> None:
        """Free the gradients before a validation, unless graphs add to them: they write to that memory forever."""
        if self.captured is None:
            super().on_validation_model_zero_grad()

    def teardown(self, stage: str) -> None:
        """Free the graphs, whose memory an evaluation needs. The lengths stay."""
        if self.captured is not None:
            self.captured_lengths = self.captured.lengths
        self.captured = self._captured_forward = None

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, then `hold`, before a callback can save a checkpoint. A captured step does both in the closure."""
        if self.captured is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            self.hold()
        elif optimizer_closure is not None:
            optimizer_closure()

    def configure_optimizers(self) -> Any:
        """AdamW, fused unless Lightning scales the gradients of fp16, with a schedule per step."""
        # With Lightning's gradient scaling a fused step unscales gradients itself, after clipping.
        fused = self.captures or self.trainer.precision != "16-mixed"
        optimizer = RowwiseAdamW(self.optimization.groups, fused=fused)
        # Lightning's `estimated_stepping_batches` would set up the loader before a checkpoint can restore it.
        steps = self.optimization.steps
        warmup = round(self.optimization.warmup_fraction * steps)
        scheduler = SCHEDULES[self.optimization.schedule](optimizer, warmup, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients together.

        Lightning's implementation refuses fused optimizers under mixed precision, even bf16, which needs no scaling.
        """
        if gradient_clip_val is not None:
            clip_gradients(self.parameters(), gradient_clip_val)
