"""Evaluate an opened model on a split: logits, metrics, and their distance from the fp32 model's."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chirplet.data.batching.tokens import Tokens
from chirplet.runtime.base import Runtime, predict_logits
from chirplet.task.base import Targets, Task


@dataclass(frozen=True)
class Quality:
    """Quality of a model: mean loss of the task in nats, and accuracy.

    If the model was compared with fp32 logits, `divergence` and `expected_drop` are those of `Task.distances`.
    """

    loss: float
    accuracy: float
    divergence: float = 0.0
    expected_drop: float | None = None

    def drop_from(self, fp32: "Quality") -> float:
        """The accuracy drop: the larger of the measured and the expected one.

        When a few dozen labels change, about as many become correct as wrong. The measured drop on a few thousand texts
        therefore has an error of its own size, and a search would select lucky candidates. The expected drop does not
        have this error, but assumes that the fp32 model is calibrated. So neither is used alone.
        """
        counted = fp32.accuracy - self.accuracy
        return counted if self.expected_drop is None else max(counted, self.expected_drop)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates models on one split.

    Attributes:
        task: the task.
        tokens: the split's texts.
        targets: the task's targets of these texts.
        labels: names of the classes, in order.
        pad_id: id of the padding token.
        batch_size: texts per batch.
    """

    task: Task
    tokens: Tokens
    targets: Targets
    labels: Sequence[str]
    pad_id: int
    batch_size: int

    def __call__(self, runtime: Runtime, reference: Tensor | None = None) -> tuple[Quality, Tensor]:
        """The model's quality and its logits, float32, shape (n, classes).

        Args:
            runtime: the model.
            reference: logits of the fp32 model for the same texts, for divergence and expected drop.
        """
        logits = predict_logits(runtime, self.tokens, self.pad_id, self.batch_size)
        metrics = self.task.evaluate(logits, self.targets, self.labels)
        output = torch.from_numpy(logits)
        distances = {} if reference is None else self.task.distances(output, reference)
        return Quality(loss=metrics["loss"], accuracy=metrics["accuracy"], **distances), output
