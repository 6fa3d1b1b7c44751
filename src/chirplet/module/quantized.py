"""The Lightning module that judges a saved model by its own runtime."""

from collections.abc import Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from chirplet.data.batches import Batch
from chirplet.metric.classification import evaluate, scalars
from chirplet.runtime.base import Runtime


class Quantized(pl.LightningModule):
    """Validation, and nothing else, of whatever a runtime has opened; logs what `Classifier` logs.

    Args:
        runtime: the opened model.
        labels: class names in order.
    """

    def __init__(self, runtime: Runtime, labels: Sequence[str]) -> None:
        super().__init__()
        self.runtime = runtime
        self.class_names = tuple(labels)
        self.evaluated: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Batch) -> Tensor:
        """Logits, shape (batch, classes), float32, on the CPU."""
        input_ids, attention_mask = (batch[name].cpu().numpy() for name in ("input_ids", "attention_mask"))
        return torch.from_numpy(np.asarray(self.runtime.logits(input_ids, attention_mask)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the logits; metrics are of the whole split, not means over batches."""
        self.evaluated.append((self(batch), batch["labels"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log every scalar metric as `val/NAME`."""
        logits, target = (torch.cat(part) for part in zip(*self.evaluated, strict=True))
        self.evaluated.clear()
        metrics = scalars(evaluate(logits, target, self.class_names))
        self.log_dict({f"val/{name}": value for name, value in metrics.items()}, batch_size=len(target))
