"""The Lightning module whose student learns from a teacher's logits beside the labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from chirplet.data.batches import Batch
from chirplet.module.classifier import Classifier, Optimization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER_LOGITS = "teacher_logits"
"""Where a batch holds what the teacher says of its tweets, shape (batch, classes)."""


def soft_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student) of the distributions softened by T, in nats; both of shape (batch, classes).

    Hinton et al. 2015 (arXiv 1503.02531), section 2: gradients of the softened distributions shrink with 1/T², so the
    factor keeps their share when T is changed.
    """
    student = (logits / temperature).log_softmax(dim=1)
    teacher = (teacher_logits / temperature).log_softmax(dim=1)
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


class Distilled(Classifier):
    """A classifier trained on α · cross-entropy + (1 − α) · `soft_loss`; other arguments as `Classifier`.

    Batches hold `teacher_logits` beside the labels. A label of -100 is none: that tweet is learnt from the teacher
    alone.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        labels: Sequence[str],
        optimization: Optimization,
        label_smoothing: float,
        class_weights: Tensor | None,
        fast_encoder: bool,
        *,
        alpha: float,
        temperature: float,
    ) -> None:
        super().__init__(model, labels, optimization, label_smoothing, class_weights, fast_encoder)
        self.alpha = alpha
        self.temperature = temperature

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean loss of one batch, in nats."""
        soft = soft_loss(logits, batch[TEACHER_LOGITS].float(), self.temperature)
        labels = batch["labels"]
        if self.alpha == 0.0 or bool((labels < 0).all()):
            return (1 - self.alpha) * soft
        hard = cross_entropy(logits, labels, weight=self.class_weights, label_smoothing=self.label_smoothing)
        return self.alpha * hard + (1 - self.alpha) * soft
