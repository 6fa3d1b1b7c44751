"""How right an opened model is on a split: logits, metrics, and how far they are from the fp32 model's."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chirplet.data.batching.tokens import Tokens
from chirplet.runtime.base import Runtime, predict_logits
from chirplet.task.base import Targets, Task


@dataclass(frozen=True)
class Quality:
    """How right a model is: the task's mean loss in nats, and the share of texts that it labels rightly.

    Where it was asked how far its answers are from the fp32 model's, `divergence` and `expected_drop` are those of
    `Task.distances`.
    """

    loss: float
    accuracy: float
    divergence: float = 0.0
    expected_drop: float | None = None

    def drop_from(self, fp32: "Quality") -> float:
        """How much accuracy is lost: as counted or as expected, whichever is more.

        Of a few dozen labels that change about as many become right as wrong, so that the count among some thousand
        texts is off by as much as it measures, and by trying on the lucky choice is found. The expectation is of the
        same labels but not of that luck, and rests on fp32 being calibrated; so neither is taken alone.
        """
        counted = fp32.accuracy - self.accuracy
        return counted if self.expected_drop is None else max(counted, self.expected_drop)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates models on one split.

    `tokens` are its texts, `targets` those of the task, `labels` the names of the classes in order; `batch_size` texts
    are computed together, padded with `pad_id`.
    """

    task: Task
    tokens: Tokens
    targets: Targets
    labels: Sequence[str]
    pad_id: int
    batch_size: int

    def __call__(self, runtime: Runtime, reference: Tensor | None = None) -> tuple[Quality, Tensor]:
        """The model's quality and its logits, float32, shape (n, classes).

        `reference`: the fp32 model's logits of the same texts, from which divergence and expected drop are measured.
        """
        logits = predict_logits(runtime, self.tokens, self.pad_id, self.batch_size)
        metrics = self.task.evaluate(logits, self.targets, self.labels)
        found = torch.from_numpy(logits)
        far = {} if reference is None else self.task.distances(found, reference)
        return Quality(loss=metrics["loss"], accuracy=metrics["accuracy"], **far), found
