"""Validation of saved models one after the other, by Lightning's loop."""

import numpy as np

from chirplet.data.batches import evaluation_loader
from chirplet.module.quantized import Quantized
from chirplet.quantizer.tolerance import Quality
from chirplet.runtime.base import Runtime
from chirplet.stage.base import Run
from chirplet.stage.outcome import Prepared


class Judge:
    """Loss and accuracy on the validation tweets, or on a sample of them spread over the split."""

    def __init__(self, run: Run, data: Prepared, batch_size: int) -> None:
        self.run = run
        self.data = data
        self.batch_size = batch_size
        self.trainer = run.trainer.build([], [], run.deterministic, run.output_dir)

    def __call__(self, runtime: Runtime, tweets: int | None) -> Quality:
        """The quality on so many tweets; None is all."""
        val = self.data.corpus.val
        if tweets is not None and tweets < len(val):
            val = val.take(np.linspace(0, len(val) - 1, tweets).round().astype(np.int64))
        loader = evaluation_loader(self.data.tokens(val), val.label, self.data.pad_id, self.batch_size)
        module = Quantized(runtime, self.data.corpus.labels)
        (found,) = self.trainer.validate(module, loader, verbose=False)
        return Quality(found["val/loss"], found["val/accuracy"])
