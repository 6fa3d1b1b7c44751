"""The Lightning module of the recovery after or during pruning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from chirplet.data.batching.batches import Batch
from chirplet.distiller.loss.losses import LogitImitation
from chirplet.model.fast_forward.encoder import Encoder
from chirplet.module.classifier import Classifier
from chirplet.module.distillation import TEACHER_LOGITS, Student
from chirplet.module.step.training_module import Optimization
from chirplet.pruner.masking.schedule import Masking
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Recovery(Student):
    """Trains a pruned classifier on labels and, if batches have them, a teacher's logits.

    The arguments are those of `Student`, with one imitation, of logits at `temperature`. `masking` keeps the pruned
    weights at zero.
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
        temperature: float,
        masking: Masking,
    ) -> None:
        super().__init__(
            model,
            task,
            labels,
            optimization,
            label_smoothing,
            class_weights,
            encoder,
            alpha=alpha,
            imitations={"logits": LogitImitation(task, temperature)},
            weights={"logits": 1.0},
            teacher=None,
        )
        self.masking = masking

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of one batch, in nats."""
        return super().losses(batch) if TEACHER_LOGITS in batch else Classifier.losses(self, batch)

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Update the masks if due."""
        self.masking.before_step(self.global_step)

    def hold(self) -> None:
        """Apply the masks."""
        self.masking.hold()
