"""The Lightning module that trains an encoder with a classification head."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chirplet.data.batching.batches import Batch, ResumableLoader
from chirplet.data.batching.distributed import gathered, several
from chirplet.metric.names import scalars
from chirplet.model.family import PostNormFamily, family_of
from chirplet.model.fast_forward.encoder import Encoder, first_token_states
from chirplet.module.step.captured import BATCH_LOSS
from chirplet.module.step.training_module import Optimization, TrainingModule
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SLOWER = 2
"""Training rate of BERT relative to other architectures of its size (`benchmarks/train_speed.py --family`)."""


class Classifier(TrainingModule):
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
        super().__init__(optimization)
        self.model = model
        self.task = task
        self.class_names = tuple(labels)
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

    @property
    def uncapturable(self) -> str | None:
        """Why the step cannot be captured: only chirplet's encoder is known to read nothing from the device."""
        if not self.has_fast_forward:
            return f"models of type {self.model.config.model_type!r} have no fast forward pass"
        return "transformers computes the encoder" if self.fast_family is None else None

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

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of one batch."""
        return {BATCH_LOSS: self.loss(self(batch), batch)}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect the logits, since metrics are of the whole split, not means over batches."""
        if "texts_of" not in batch or batch["texts_of"][0] > 0:
            self.evaluated.append((self.inferred(batch), batch["labels"]))

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
