"""A saved model is judged on the whole split, and by how far its answers are from those of the model as it was."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from chirplet.data.batching.batches import evaluation_loader
from chirplet.data.batching.tokens import Tokens
from chirplet.module.quantized import Quantized
from chirplet.runtime.base import Runtime

TWEETS = 200
LENGTHS = np.random.default_rng(0).permutation(np.arange(TWEETS) % 9 + 1)
RANDOM = torch.Generator().manual_seed(0)
FP32 = 2 * torch.randn(TWEETS, 3, generator=RANDOM)
SAID = FP32 + 0.3 * torch.randn(TWEETS, 3, generator=RANDOM)
LABELS = FP32.argmax(dim=1).numpy()


class ByFirstToken(Runtime):
    """Gives `SAID` by the number of the tweet, which is its first token."""

    def logits(self, input_ids, attention_mask):
        return SAID[torch.from_numpy(input_ids[:, 0])].numpy()


def judged(reference, labels=LABELS):
    ids = np.concatenate([[number] * length for number, length in enumerate(LENGTHS)]).astype(np.int32)
    tokens = Tokens(ids, np.concatenate([[0], np.cumsum(LENGTHS)]))
    module = Quantized(ByFirstToken(), ("a", "b", "c"), reference)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    (found,) = trainer.validate(module, evaluation_loader(tokens, labels, 0, 16), verbose=False)
    return module, found


def test_what_was_said_is_in_the_order_of_the_tweets():
    module, found = judged(None)
    assert torch.equal(module.logits, SAID)
    assert found["val/accuracy"] == pytest.approx((SAID.argmax(dim=1).numpy() == LABELS).mean())
    assert not {"val/divergence", "val/expected_drop"} & found.keys()


def test_distances_by_hand():
    _, found = judged(FP32)
    before, after = (np.exp(scores.numpy().astype(float)) for scores in (FP32, SAID))
    before, after = (odds / odds.sum(axis=1, keepdims=True) for odds in (before, after))
    assert found["val/divergence"] == pytest.approx((before * np.log(before / after)).sum(axis=1).mean(), rel=1e-4)
    lost = [row[row.argmax()] - row[said.argmax()] for row, said in zip(before, after, strict=True)]
    assert 0 < sum(difference > 0 for difference in lost) < TWEETS / 2
    assert found["val/expected_drop"] == pytest.approx(np.mean(lost), rel=1e-4)


def test_where_fp32s_probabilities_are_true_the_expected_drop_is_the_mean_of_counted_ones():
    draws = 20_000
    cumulative = FP32.double().softmax(dim=1).cumsum(dim=1).numpy()
    labels = (np.random.default_rng(1).random((draws, TWEETS, 1)) > cumulative).sum(axis=2)
    before, after = (scores.argmax(dim=1).numpy() for scores in (FP32, SAID))
    counted = ((before == labels).mean(axis=1) - (after == labels).mean(axis=1)).astype(float)
    _, found = judged(FP32)
    assert found["val/expected_drop"] == pytest.approx(counted.mean(), abs=4 * counted.std() / draws**0.5)
    assert counted.std() > found["val/expected_drop"], "one count alone says little"
