"""A saved model is judged on the whole split, and by how far its answers are from those of the model as it was."""

import numpy as np
import pytest
import torch

from chirplet.data.batching.tokens import Tokens
from chirplet.evaluation.evaluator import Evaluator
from chirplet.runtime.base import Runtime
from chirplet.task.single_label import SingleLabel

TEXTS = 200
LENGTHS = np.random.default_rng(0).permutation(np.arange(TEXTS) % 9 + 1)
RANDOM = torch.Generator().manual_seed(0)
FP32 = 2 * torch.randn(TEXTS, 3, generator=RANDOM)
SAID = FP32 + 0.3 * torch.randn(TEXTS, 3, generator=RANDOM)
LABELS = FP32.argmax(dim=1).numpy()


class ByFirstToken(Runtime):
    """Gives `SAID` by the number of the text, which is its first token."""

    def logits(self, input_ids, attention_mask):
        return SAID[torch.from_numpy(input_ids[:, 0])].numpy()


def evaluated(reference, labels=LABELS):
    ids = np.concatenate([[number] * length for number, length in enumerate(LENGTHS)]).astype(np.int32)
    tokens = Tokens(ids, np.concatenate([[0], np.cumsum(LENGTHS)]))
    return Evaluator(SingleLabel(), tokens, labels, ("a", "b", "c"), 0, 16)(ByFirstToken(), reference)


def test_what_was_said_is_in_the_order_of_the_tweets():
    found, logits = evaluated(None)
    assert torch.equal(logits, SAID)
    assert found.accuracy == pytest.approx((SAID.argmax(dim=1).numpy() == LABELS).mean())
    assert (found.divergence, found.expected_drop) == (0.0, None)


def test_distances_by_hand():
    found, _ = evaluated(FP32)
    before, after = (np.exp(scores.numpy().astype(float)) for scores in (FP32, SAID))
    before, after = (odds / odds.sum(axis=1, keepdims=True) for odds in (before, after))
    assert found.divergence == pytest.approx((before * np.log(before / after)).sum(axis=1).mean(), rel=1e-4)
    lost = [row[row.argmax()] - row[said.argmax()] for row, said in zip(before, after, strict=True)]
    assert 0 < sum(difference > 0 for difference in lost) < TEXTS / 2
    assert found.expected_drop == pytest.approx(np.mean(lost), rel=1e-4)


def test_where_fp32s_probabilities_are_true_the_expected_drop_is_the_mean_of_counted_ones():
    draws = 20_000
    cumulative = FP32.double().softmax(dim=1).cumsum(dim=1).numpy()
    labels = (np.random.default_rng(1).random((draws, TEXTS, 1)) > cumulative).sum(axis=2)
    before, after = (scores.argmax(dim=1).numpy() for scores in (FP32, SAID))
    counted = ((before == labels).mean(axis=1) - (after == labels).mean(axis=1)).astype(float)
    found, _ = evaluated(FP32)
    assert found.expected_drop == pytest.approx(counted.mean(), abs=4 * counted.std() / draws**0.5)
    assert counted.std() > found.expected_drop, "one count alone says little"
