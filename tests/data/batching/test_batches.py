"""Batches hold every tweet once, in an order that seed and epoch decide."""

from functools import partial

import numpy as np
import torch

from chirplet.data.batching.batches import Collate, LengthGrouped, evaluation_loader, training_loader
from chirplet.data.batching.padding import few_lengths
from chirplet.data.batching.tokens import Tokens


def tokens_of(*rows: list[int]) -> Tokens:
    offsets = np.cumsum([0, *map(len, rows)])
    return Tokens(np.array([token for row in rows for token in row], dtype=np.int32), offsets.astype(np.int64))


def random_tokens(n: int, seed: int = 0) -> Tokens:
    lengths = np.random.default_rng(seed).integers(1, 60, size=n)
    return tokens_of(*[[7] * int(length) for length in lengths])


def test_collate_pads_to_the_longest_and_masks_the_padding():
    batch = Collate(tokens_of([5, 6, 7], [8]), np.array([2, 0]), pad_id=1)([1, 0])
    assert batch["input_ids"].tolist() == [[8, 1, 1], [5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [0, 2]
    assert batch["position"].tolist() == [1, 0]


def test_an_epoch_serves_every_tweet_once():
    sampler = LengthGrouped(random_tokens(1003).lengths, batch_size=8, seed=1, pool_batches=50)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 126
    assert sorted(position for batch in batches for position in batch) == list(range(1003))


def test_grouping_by_length_leaves_little_padding():
    lengths = random_tokens(4000).lengths
    sampler = LengthGrouped(lengths, batch_size=32, seed=1, pool_batches=50)
    padded = sum(len(batch) * lengths[batch].max() for batch in sampler)
    assert padded < 1.05 * lengths.sum()


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int = 0) -> list[list[int]]:
        sampler = LengthGrouped(random_tokens(200).lengths, 8, seed, pool_batches=50)
        sampler.epoch = epoch
        return [batch.tolist() for batch in sampler]

    first = order(seed=3)
    np.random.default_rng().random()
    assert order(seed=3) == first
    assert order(seed=4) != first
    assert order(seed=3, epoch=1) != first


def test_a_loader_taken_up_in_mid_epoch_serves_just_the_rest():
    tokens = random_tokens(100)
    labels = np.zeros(100, dtype=np.int64)
    whole = [batch["position"].tolist() for batch in training_loader(tokens, labels, 0, 8, seed=5, pool_batches=50)]
    broken = training_loader(tokens, labels, 0, 8, seed=5, pool_batches=50)
    served = iter(broken)
    for _ in range(4):
        next(served)
    state = broken.state_dict()
    resumed = training_loader(tokens, labels, 0, 8, seed=5, pool_batches=50)
    resumed.load_state_dict(state)
    assert [batch["position"].tolist() for batch in resumed] == whole[4:]


def test_evaluation_batches_are_of_like_lengths_and_say_where_each_tweet_belongs():
    tokens = tokens_of([1, 1, 1], [2], [3, 3])
    batches = list(evaluation_loader(tokens, None, pad_id=0, batch_size=2))
    assert sorted(batch["position"].tolist() for batch in batches) == [[0], [1, 2]]
    assert "labels" not in batches[0]
    assert batches[0]["input_ids"].dtype == torch.int64


def test_loaders_pad_to_the_lengths_that_a_function_gives():
    tokens, limit = random_tokens(300), 50  # of up to 59 tokens, cut
    tokens = tokens_of(*[tokens[i][:limit].tolist() for i in range(len(tokens))])
    pad_to = partial(few_lengths, limit=limit)
    labels = np.zeros(300, dtype=np.int64)
    for loader in (
        training_loader(tokens, labels, 0, 8, seed=5, pool_batches=2, pad_to=pad_to),
        evaluation_loader(tokens, None, 0, 8, pad_to=pad_to),
    ):
        widths = {batch["input_ids"].shape[1] for batch in loader}
        assert widths <= {8, 16, 24, 32, 40, 48, 50}
        assert len(widths) > 3


def test_the_first_evaluation_batches_are_a_fair_sample_of_lengths():
    tokens = random_tokens(4000)
    batches = [batch["position"].numpy() for batch in evaluation_loader(tokens, None, pad_id=0, batch_size=32)]
    first = tokens.lengths[np.concatenate(batches[: len(batches) // 4])]
    assert abs(first.mean() - tokens.lengths.mean()) < 0.1 * tokens.lengths.mean()
