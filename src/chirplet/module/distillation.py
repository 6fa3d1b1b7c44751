"""The Lightning module that trains a student on labels and a teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from chirplet.data.batching.batches import Batch
from chirplet.data.batching.distributed import factor
from chirplet.distiller.loss.losses import Imitation, LogitImitation, Signals, observe
from chirplet.model.family import PostNormFamily, family_of
from chirplet.model.fast_forward.encoder import Encoder
from chirplet.module.classifier import Classifier
from chirplet.module.step.captured import BATCH_LOSS
from chirplet.module.step.training_module import Optimization
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER_LOGITS = "teacher_logits"
"""The batch's key for the teacher's logits, shape (batch, classes)."""


def blend(
    task: Task,
    logits: Tensor,
    batch: Batch,
    soft: Tensor,
    alpha: float,
    class_weights: Tensor | None,
    label_smoothing: float,
) -> Tensor:
    """α · the task's loss + (1 − α) · `soft`.

    The task's loss is averaged over all texts of the whole batch, and is 0 for texts without a label, so that a few
    labeled texts among many have no larger weight.
    """
    labels = batch["labels"]
    if alpha == 0.0:
        return soft
    hard = task.batch_loss(logits, batch, class_weights, label_smoothing)
    labeled = task.labeled(batch.get("whole_labels", labels))
    return alpha * labeled.float().mean() * hard + (1 - alpha) * soft


class Student(Classifier):
    """A classifier trained on α · the task's loss + (1 − α) · the weighted sum of imitations.

    Batches have `teacher_logits` and labels. A text without a label is learnt from the teacher alone.

    Args:
        model: see `Classifier`.
        task: see `Classifier`.
        labels: see `Classifier`.
        optimization: see `Classifier`; its groups include the parameters of the imitations.
        label_smoothing: see `Classifier`.
        class_weights: see `Classifier`.
        encoder: see `Classifier`; ignored with a `teacher`, when `transformers` computes both models.
        alpha: weight of the labels' loss, 0 to 1.
        imitations: the distillation losses by name.
        weights: weight of each imitation in the sum.
        teacher: the teacher in evaluation mode, with the same tokens, if an imitation compares layers; otherwise None.
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
        *,
        alpha: float,
        imitations: Mapping[str, Imitation],
        weights: Mapping[str, float],
        teacher: "PreTrainedModel | None",
    ) -> None:
        super().__init__(model, task, labels, optimization, label_smoothing, class_weights, encoder)
        self.alpha = alpha
        self.imitations = nn.ModuleDict(imitations)
        self.mean_over = {name: imitation.mean_over for name, imitation in imitations.items()}
        self.weights = dict(weights)
        # In a tuple, so that Lightning neither trains the teacher's weights nor writes them to checkpoints.
        self.teachers = () if teacher is None else (teacher,)

    @property
    def leaves_unused(self) -> bool:
        """Also true if only the labels, which a batch may lack, use the parameters above the imitated layers."""
        imitated = any(isinstance(imitation, LogitImitation) for imitation in self.imitations.values())
        return super().leaves_unused or not imitated

    @property
    def uncapturable(self) -> str | None:
        """Also a live teacher without a fast forward pass."""
        for teacher in self.teachers:
            if not isinstance(family_of(teacher), PostNormFamily):
                return f"teachers of type {teacher.config.model_type!r} have no fast forward pass"
        return super().uncapturable

    def on_fit_start(self) -> None:
        """Move the teacher to the student's device."""
        for teacher in self.teachers:
            teacher.to(self.device)  # type: ignore[arg-type]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of one batch, or this process's share of it, and that of each imitation."""
        teacher_logits = batch[TEACHER_LOGITS].float()
        if self.teachers:
            with torch.no_grad():
                teacher = replace(observe(self.teachers[0], batch), logits=teacher_logits)
            student = observe(self.model, batch)
        else:
            teacher, student = Signals(teacher_logits), Signals(self(batch))
        # The outputs are in fp32, but autocast would compute products of them in bf16.
        with torch.autocast(self.device.type, enabled=False):
            parts = {
                name: loss(student, teacher, batch["attention_mask"]) * factor(batch, self.mean_over[name])
                for name, loss in self.imitations.items()
            }
        soft = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        loss = blend(self.task, student.logits, batch, soft, self.alpha, self.class_weights, self.label_smoothing)
        return {BATCH_LOSS: loss} | {f"{name}_loss": part for name, part in parts.items()}
