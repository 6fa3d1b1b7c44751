"""Validation of saved models one after the other, by Lightning's loop."""

import numpy as np
from torch import Tensor

from chirplet.data.batching.batches import evaluation_loader
from chirplet.data.preparation.corpus import Tweets
from chirplet.module.quantized import Quantized
from chirplet.quantizer.mixed_precision.search import Quality
from chirplet.runtime.base import Runtime
from chirplet.stage.base import Run
from chirplet.stage.output.write_artifact import Prepared


class Judge:
    """Loss and accuracy on the validation tweets, or on a sample of them spread over the split."""

    def __init__(self, run: Run, data: Prepared, batch_size: int) -> None:
        self.run = run
        self.data = data
        self.batch_size = batch_size
        # The runtime computes, where and in what it was opened; the trainer only goes through the tweets.
        loop = {"accelerator": "cpu", "precision": "32-true", "limit_val_batches": 1.0}
        self.trainer = run.trainer.model_copy(update=loop).build([], [], run.deterministic, run.output_dir)

    def __call__(self, runtime: Runtime, tweets: int | None, reference: Tensor | None = None) -> tuple[Quality, Tensor]:
        """The quality on so many tweets, None is all, and the logits of them, shape (n, classes).

        `reference`: the fp32 model's logits of the same tweets, from which divergence and expected drop are measured.
        """
        val = self._sample(tweets)
        loader = evaluation_loader(self.data.tokens(val), val.label, self.data.pad_id, self.batch_size)
        module = Quantized(runtime, self.data.corpus.labels, reference)
        (found,) = self.trainer.validate(module, loader, verbose=False)
        assert module.logits is not None  # it has just been validated
        quality = Quality(
            loss=found["val/loss"],
            accuracy=found["val/accuracy"],
            divergence=found.get("val/divergence", 0.0),
            expected_drop=found.get("val/expected_drop"),
        )
        return quality, module.logits

    def _sample(self, tweets: int | None) -> Tweets:
        val = self.data.corpus.val
        if tweets is None or tweets >= len(val):
            return val
        return val.take(np.linspace(0, len(val) - 1, tweets).round().astype(np.int64))
