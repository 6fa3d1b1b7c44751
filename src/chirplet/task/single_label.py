"""One label per text: softmax over the labels, trained by cross-entropy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.task.base import Logits, Targets, Task

if TYPE_CHECKING:
    from torch import Tensor

    from chirplet.data.base import Examples


class SingleLabel(Task):
    """Targets are indices of labels, int64, shape (n,); negative ones stand for no label."""

    problem_type: ClassVar[str] = "single_label_classification"

    def targets(self, texts: "Examples") -> Targets:
        return texts.label

    def no_targets(self, labels: int) -> Targets:
        return np.empty(0, np.int64)

    def labeled(self, targets: "Tensor") -> "Tensor":
        return targets >= 0

    def fault(self, targets: Targets, labels: int) -> str | None:
        return None if targets.min() >= 0 and targets.max() < labels else f"should be 0 to {labels - 1}"

    def loss(
        self,
        logits: "Tensor",
        targets: "Tensor",
        class_weights: "Tensor | None" = None,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> "Tensor":
        """Cross-entropy; smoothing as in Szegedy et al. 2016 (arXiv 1512.00567)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            logits, targets, weight=class_weights, label_smoothing=label_smoothing, reduction=reduction
        )

    def loss_weight(self, targets: "Tensor", class_weights: "Tensor | None") -> "Tensor":
        labeled = self.labeled(targets)
        weights = labeled.float() if class_weights is None else class_weights[targets.clamp(min=0)] * labeled
        return weights.sum()

    def balanced_weights(self, targets: Targets, labels: int) -> "Tensor":
        """n / (labels * n of the label); 0 for a label without texts."""
        import torch

        counts = np.bincount(targets, minlength=labels)
        weights = np.where(counts > 0, len(targets) / (labels * np.maximum(counts, 1)), 0.0)
        return torch.tensor(weights, dtype=torch.float32)

    def soft_loss(self, logits: "Tensor", teacher_logits: "Tensor", temperature: float) -> "Tensor":
        """T² · KL(teacher ‖ student) of the distributions softened by T.

        Hinton et al. 2015 (arXiv 1503.02531), section 2: gradients of the softened distributions scale with 1/T², so
        the factor keeps their magnitude independent of T.
        """
        from torch.nn.functional import kl_div

        student = (logits / temperature).log_softmax(dim=1)
        teacher = (teacher_logits / temperature).log_softmax(dim=1)
        return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)

    def decode(self, logits: Logits) -> Targets:
        """The label with the highest logit."""
        decoded: NDArray[np.int64] = logits.argmax(axis=1)
        return decoded

    def probabilities(self, logits: Logits) -> NDArray[np.float64]:
        """Rows sum to 1."""
        shifted = _shifted(logits)
        odds = np.exp(shifted)
        result: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return result

    def activate(self, logits: "Tensor") -> "Tensor":
        return logits.softmax(dim=1)

    def names(self, targets: Targets, labels: Sequence[str]) -> list[str]:
        return [labels[index] for index in targets.tolist()]

    def confidence(self, logits: Logits) -> NDArray[np.float64]:
        highest: NDArray[np.float64] = self.probabilities(logits).max(axis=1)
        return highest

    def evaluate(
        self, logits: "NDArray[np.float32] | Tensor", targets: "Targets | Tensor", labels: Sequence[str]
    ) -> dict[str, Any]:
        from chirplet.metric.classification import evaluate

        return evaluate(logits, targets, labels)

    def losses(self, logits: Logits, targets: Targets) -> NDArray[np.float64]:
        shifted = _shifted(logits)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        result: NDArray[np.float64] = -log_probabilities[np.arange(len(logits)), targets]
        return result

    def confusion(self, logits: Logits, targets: Targets, labels: int) -> NDArray[np.int64]:
        table = np.zeros((labels, labels), np.int64)
        np.add.at(table, (targets, self.decode(logits)), 1)
        return table

    def distances(self, logits: "Tensor", reference: "Tensor") -> dict[str, float]:
        """`expected_drop` is the mean difference of fp32's probability between fp32's label and this model's."""
        from torch.nn.functional import kl_div

        after, before = (scores.log_softmax(dim=1) for scores in (logits, reference))
        probabilities = before.exp()
        chosen = probabilities.gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)
        return {
            "divergence": kl_div(after, before, reduction="batchmean", log_target=True).item(),
            "expected_drop": (probabilities.amax(dim=1) - chosen).mean().item(),
        }


def _shifted(logits: Logits) -> NDArray[np.float64]:
    """Logits minus the highest of each text, in float64, so that the exponential does not overflow."""
    exact = logits.astype(np.float64)
    shifted: NDArray[np.float64] = exact - exact.max(axis=1, keepdims=True)
    return shifted
