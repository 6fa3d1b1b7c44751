"""The Lightning module that trains an encoder with a classification head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
)

from chirplet.data.batching.batches import Batch, ResumableLoader, text_count
from chirplet.data.batching.distributed import gathered, several
from chirplet.metric.names import scalars
from chirplet.model.family import PostNormFamily, family_of
from chirplet.model.fast_forward.encoder import Encoder, first_token_states
from chirplet.module.optimizer import RowwiseAdamW, clip_gradients
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCHEDULES: dict[str, Callable[[Optimizer, int, int], LambdaLR]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": lambda optimizer, warmup, steps: get_constant_schedule_with_warmup(optimizer, warmup),
}
"""Schedules by name: linear warm-up, then the decay. Each takes the optimizer, the warm-up steps and all steps."""


SLOWER = 2
"""Training rate of BERT relative to other architectures of its size (`benchmarks/train_speed.py --family`)."""


@dataclass(frozen=True)
class Optimization:
    """AdamW's parameter groups with their learning rates, and the schedule over `steps` optimizer steps."""

    groups: list[dict[str, Any]]
    schedule: str
    warmup_fraction: float
    steps: int


class Classifier(pl.LightningModule):
    """Trains a sequence classifier on labels, and logs all metrics on validation.

    Args:
        model: returns `logits` of shape (batch, classes) for `input_ids` and `attention_mask` of shape (batch, tokens).
        task: interprets labels and logits.
        labels: class names in order.
        optimization: parameter groups and schedule.
        label_smoothing: mass spread over the other classes, in [0, 1).
        class_weights: weight of each class in the loss, shape (classes,), or None.
        encoder: the implementation of the encoder; `transformers` computes models of families that are no
            `PostNormFamily`.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        task: Task,
        labels: Sequence[str],
        optimization: Optimization,
        label_smoothing: float,
        class_weights: Tensor | None,
        encoder: Encoder,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.class_names = tuple(labels)
        self.optimization = optimization
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        family = family_of(model)
        self.has_fast_forward = isinstance(family, PostNormFamily)
        self.fast_family = family if isinstance(family, PostNormFamily) and encoder != "transformers" else None
        self.packed = encoder == "packed"
        self.evaluated: list[tuple[Tensor, Tensor]] = []

    @property
    def leaves_unused(self) -> bool:
        """Whether a loss may not depend on some of the trainable parameters."""
        return not self.has_fast_forward

    @property
    def slow_forward(self) -> str | None:
        """Why and how much training is slower than that of BERT's relatives; None if it is not."""
        if self.has_fast_forward:
            return None
        config = self.model.config
        return (
            f"models of type {config.model_type!r} have no fast forward pass: transformers computes them with "
            f"{config._attn_implementation} attention, padding included; on a CPU BERT of the same size trains about "
            f"{SLOWER:g} times as fast"
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits, shape (batch, classes), float32."""
        input_ids, mask = batch["input_ids"], batch["attention_mask"]
        logits: Tensor
        if self.fast_family is None:
            logits = self.model(input_ids=input_ids, attention_mask=mask).logits
        else:
            states = first_token_states(self.model, input_ids, mask, self.packed)
            logits = self.fast_family.head_logits(self.model, states)
        return logits.float()

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The task's mean loss on the labels, in nats, or this process's share of it."""
        return self.task.batch_loss(logits, batch, self.class_weights, self.label_smoothing)

    def on_train_epoch_start(self) -> None:
        """Reshuffle."""
        loader = self.trainer.train_dataloader
        if isinstance(loader, ResumableLoader):
            loader.set_epoch(self.current_epoch)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Mean loss of one batch."""
        loss = self.loss(self(batch), batch)
        self.log("train/batch_loss", loss.detach(), batch_size=text_count(batch), sync_dist=several())
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect the logits, since metrics are of the whole split, not means over batches."""
        if "texts_of" not in batch or batch["texts_of"][0] > 0:
            self.evaluated.append((self(batch), batch["labels"]))

    def on_validation_epoch_end(self) -> None:
        """Log every scalar metric as `val/NAME`, over the texts of all processes."""
        classes = len(self.class_names)
        no_logits = torch.empty((0, classes), device=self.device)
        no_targets = torch.from_numpy(self.task.no_targets(classes)).to(self.device)
        logits = gathered([part for part, _ in self.evaluated], no_logits).cpu()
        target = gathered([part for _, part in self.evaluated], no_targets).cpu()
        self.evaluated.clear()
        metrics = scalars(self.task.evaluate(logits, target, self.class_names))
        logged = {f"val/{name}": value for name, value in metrics.items()}
        self.log_dict(logged, batch_size=len(target), sync_dist=several())

    def configure_optimizers(self) -> Any:
        """AdamW, fused unless the precision is fp16, with a schedule per step."""
        # With fp16's gradient scaler a fused step unscales gradients itself, after clipping.
        optimizer = RowwiseAdamW(self.optimization.groups, fused=self.trainer.precision != "16-mixed")
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
