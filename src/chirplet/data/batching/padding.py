"""Pad token ids to rectangular arrays; numpy only."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.tokens import Tokens

Ids = NDArray[np.int64]


def few_lengths(longest: int, limit: int) -> int:
    """The padded length of a batch whose longest row has `longest` <= `limit` tokens: few values, and little padding.

    The next multiple of a quarter of the largest power of two <= `longest`, of 8 at least, and at most `limit`: 8, 16,
    ..., 64, 80, 96, 112, 128, 160, ...
    """
    step = max(8, (1 << longest.bit_length()) >> 3)
    return min(longest + -longest % step, limit)


def padded(tokens: Tokens, positions: Sequence[int], pad_id: int, multiple: int = 1) -> tuple[Ids, Ids]:
    """Token ids and attention mask of the tweets at `positions`, both of shape (batch, longest).

    Rows are padded on the right with `pad_id`, to the longest row or the next multiple of `multiple`; the mask is 1 for
    tokens and 0 for padding.
    """
    rows = [tokens[position] for position in positions]
    longest = max(len(row) for row in rows)
    longest += -longest % multiple
    input_ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    attention_mask = np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = row
        attention_mask[i, : len(row)] = 1
    return input_ids, attention_mask


def by_length(lengths: NDArray[np.int64], batch_size: int) -> Iterator[list[int]]:
    """Positions of all tweets in batches of similar length, from the shortest to the longest."""
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        yield order[begin : begin + batch_size].tolist()
