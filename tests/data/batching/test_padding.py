"""Rows padded by numpy alone are those that a loop over the texts pads."""

import numpy as np
import pytest

from chirplet.data.batching.padding import few_lengths, padded
from chirplet.data.batching.tokens import Tokens


def tokens_of(lengths: list[int]) -> Tokens:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.random.default_rng(0).integers(5, 1000, offsets[-1]).astype(np.int32)
    values.flags.writeable = False  # as those of a mapped file
    return Tokens(values, offsets)


@pytest.mark.parametrize("pad_to", [1, 4, lambda longest: longest + 3])
@pytest.mark.parametrize("positions", [[5], [3, 0, 5, 3], [2, 4], range(6), np.array([1, 5])])
def test_each_row_has_its_tokens_and_then_padding(positions, pad_to):
    tokens = tokens_of(
        [3, 9, 0, 4, 1, 7]
    )  # the last row, from which reading on would leave the values, is not the longest
    input_ids, attention_mask = padded(tokens, positions, 2, pad_to)
    rows = [tokens[position].tolist() for position in positions]
    longest = max(map(len, rows))
    width = longest + -longest % pad_to if isinstance(pad_to, int) else pad_to(longest)
    assert input_ids.tolist() == [row + [2] * (width - len(row)) for row in rows]
    assert attention_mask.tolist() == [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    assert input_ids.dtype == attention_mask.dtype == np.int64


def test_the_few_lengths_grow_with_the_text_and_never_pass_the_limit():
    of_all = [few_lengths(longest, 200) for longest in range(1, 201)]
    assert sorted(set(of_all)) == [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 200]
    assert of_all == sorted(of_all)
    assert all(length >= longest for longest, length in enumerate(of_all, start=1))
    assert few_lengths(500, 512) == 512
    assert few_lengths(3, 6) == 6
