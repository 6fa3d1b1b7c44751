"""How right an opened model is on a split: logits, metrics, and how far they are from the fp32 model's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import kl_div

from chirplet.data.batching.tokens import Tokens
from chirplet.metric.classification import evaluate
from chirplet.runtime.base import Runtime, predict_logits


@dataclass(frozen=True)
class Quality:
    """How right a model is: mean cross-entropy in nats, and the share of texts that it labels rightly.

    Where it was asked how far its answers are from the fp32 model's, `divergence` is the mean KL(fp32 ‖ this) in nats,
    and `expected_drop` the share of texts that it will label rightly no more if fp32's probabilities are true: the
    mean of fp32's probability of the label that fp32 gives, less fp32's probability of the label that this gives.
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

    `tokens` are its texts, `target` their labels, shape (n,), `labels` the names of the classes in order; `batch_size`
    texts are computed together, padded with `pad_id`.
    """

    tokens: Tokens
    target: NDArray[np.int64]
    labels: Sequence[str]
    pad_id: int
    batch_size: int

    def __call__(self, runtime: Runtime, reference: Tensor | None = None) -> tuple[Quality, Tensor]:
        """The model's quality and its logits, float32, shape (n, classes).

        `reference`: the fp32 model's logits of the same texts, from which divergence and expected drop are measured.
        """
        logits = predict_logits(runtime, self.tokens, self.pad_id, self.batch_size)
        metrics = evaluate(logits, self.target, self.labels)
        found = torch.from_numpy(logits)
        far = {} if reference is None else distances(found, reference)
        return Quality(loss=metrics["loss"], accuracy=metrics["accuracy"], **far), found


def distances(logits: Tensor, reference: Tensor) -> dict[str, float]:
    """`divergence` and `expected_drop` (see `Quality`) of logits from the fp32 model's, both of shape (n, classes)."""
    said, before = (scores.log_softmax(dim=1) for scores in (logits, reference))
    believed = before.exp()
    given = believed.gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)
    return {
        "divergence": kl_div(said, before, reduction="batchmean", log_target=True).item(),
        "expected_drop": (believed.amax(dim=1) - given).mean().item(),
    }
