"""The Lightning module that judges a saved model by its own runtime."""

from collections.abc import Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from chirplet.data.batching.batches import Batch
from chirplet.metric.classification import evaluate, scalars
from chirplet.runtime.base import Runtime


class Quantized(pl.LightningModule):
    """Validation, and nothing else, of whatever a runtime has opened; logs what `Classifier` logs.

    Args:
        runtime: the opened model.
        labels: class names in order.
        reference: logits of the model as it was, shape (n, classes), in the order of the tweets; then two more are
            logged, `val/divergence` and `val/expected_drop`.

    After a validation `logits` are what the runtime said, float32, shape (n, classes), in the order of the tweets.
    """

    def __init__(self, runtime: Runtime, labels: Sequence[str], reference: Tensor | None = None) -> None:
        super().__init__()
        self.runtime = runtime
        self.class_names = tuple(labels)
        self.reference = reference
        self.evaluated: list[tuple[Tensor, Tensor, Tensor]] = []
        self.logits: Tensor | None = None

    def forward(self, batch: Batch) -> Tensor:
        """Logits, shape (batch, classes), float32, on the CPU."""
        input_ids, attention_mask = (batch[name].cpu().numpy() for name in ("input_ids", "attention_mask"))
        return torch.from_numpy(np.asarray(self.runtime.logits(input_ids, attention_mask)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the logits; metrics are of the whole split, not means over batches."""
        self.evaluated.append((self(batch), batch["labels"].cpu(), batch["position"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log every scalar metric as `val/NAME`."""
        logits, target, position = (torch.cat(part) for part in zip(*self.evaluated, strict=True))
        self.evaluated.clear()
        metrics = scalars(evaluate(logits, target, self.class_names))
        if self.reference is not None:
            metrics |= distances(logits, self.reference[position])
        self.logits = logits[position.argsort()]
        self.log_dict({f"val/{name}": value for name, value in metrics.items()}, batch_size=len(target))


def distances(logits: Tensor, reference: Tensor) -> dict[str, float]:
    """`divergence` and `expected_drop` (see `Quality`) of logits from the fp32 model's, both of shape (n, classes)."""
    said, before = (scores.log_softmax(dim=1) for scores in (logits, reference))
    believed = before.exp()
    given = believed.gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)
    return {
        "divergence": kl_div(said, before, reduction="batchmean", log_target=True).item(),
        "expected_drop": (believed.amax(dim=1) - given).mean().item(),
    }
