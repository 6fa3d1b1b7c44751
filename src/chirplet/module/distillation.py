"""The Lightning modules whose student learns from a teacher beside the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from chirplet.data.batching.batches import Batch, text_count
from chirplet.data.batching.distributed import factor, several
from chirplet.distiller.loss.losses import Imitation, LogitImitation, Signals, observe
from chirplet.model.fast_forward.encoder import Encoder
from chirplet.module.classifier import Classifier, Optimization
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER_LOGITS = "teacher_logits"
"""Where a batch holds what the teacher says of its texts, shape (batch, classes)."""


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

    A text without a label adds nothing to the task's loss, whose mean is over all texts of the whole batch: so few
    labeled ones among many weigh no more than others.
    """
    labels = batch["labels"]
    if alpha == 0.0 or not bool(task.labeled(labels).any()):
        return (1 - alpha) * soft
    hard = task.batch_loss(logits, batch, class_weights, label_smoothing)
    labeled = task.labeled(batch.get("whole_labels", labels))
    return alpha * labeled.float().mean() * hard + (1 - alpha) * soft


class Student(Classifier):
    """A classifier trained on α · the task's loss + (1 − α) · the weighted sum of imitations.

    Batches hold `teacher_logits` and labels. A text without a label is learnt from the teacher alone.

    Args:
        model: as `Classifier`, and the arguments after it.
        task: see there.
        labels: see there.
        optimization: see there; the imitations' own weights are in its groups too.
        label_smoothing: see there.
        class_weights: see there.
        encoder: see there; where a teacher is watched, both are computed as `transformers` does.
        alpha: the labels' share of the loss, 0 to 1.
        imitations: by name.
        weights: of each imitation in the sum.
        teacher: in evaluation mode, of the same tokens, where an imitation looks at layers; else None.
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
        # In a tuple, so that the teacher's weights are neither trained nor written to checkpoints.
        self.teachers = () if teacher is None else (teacher,)

    @property
    def leaves_unused(self) -> bool:
        """Also where nothing but the labels, which not every batch has, asks for what is above the layers imitated."""
        imitated = any(isinstance(imitation, LogitImitation) for imitation in self.imitations.values())
        return super().leaves_unused or not imitated

    def on_fit_start(self) -> None:
        """Put the teacher where the student is."""
        for teacher in self.teachers:
            teacher.to(self.device)  # type: ignore[arg-type]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Mean loss of one batch, or this process's share of it; each imitation is logged by its name."""
        said = batch[TEACHER_LOGITS].float()
        if self.teachers:
            with torch.no_grad():
                told = replace(observe(self.teachers[0], batch), logits=said)
            made = observe(self.model, batch)
        else:
            told, made = Signals(said), Signals(self(batch))
        # What is compared is in fp32, but autocast would have products of it in bf16.
        with torch.autocast(self.device.type, enabled=False):
            parts = {
                name: loss(made, told, batch["attention_mask"]) * factor(batch, self.mean_over[name])
                for name, loss in self.imitations.items()
            }
        soft = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        loss = blend(self.task, made.logits, batch, soft, self.alpha, self.class_weights, self.label_smoothing)
        logged = {"batch_loss": loss} | {f"{name}_loss": part for name, part in parts.items()}
        logged_to = {f"train/{name}": value.detach() for name, value in logged.items()}
        self.log_dict(logged_to, batch_size=text_count(batch), sync_dist=several())
        return loss
