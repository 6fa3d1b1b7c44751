"""Pad token ids to rectangular arrays; numpy only."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.tokens import Tokens

Ids = NDArray[np.int64]
Positions = Sequence[int] | NDArray[np.int64]
PadTo = int | Callable[[int], int]
"""The padded length of a batch in tokens: the next multiple of a number, or a function of its longest row's length."""


def few_lengths(longest: int, limit: int) -> int:
    """The padded length of a batch whose longest row has `longest` <= `limit` tokens: few values, and little padding.

    The next multiple of a quarter of the largest power of two <= `longest`, of 8 at least, and at most `limit`: 8, 16,
    ..., 64, 80, 96, 112, 128, 160, ...
    """
    step = max(8, (1 << longest.bit_length()) >> 3)
    return min(longest + -longest % step, limit)


def padded(tokens: Tokens, positions: Positions, pad_id: int, pad_to: PadTo = 1) -> tuple[Ids, Ids]:
    """Token ids and attention mask of the tweets at `positions`, both of shape (batch, padded length).

    Rows are padded on the right with `pad_id`, to the length that `pad_to` gives for the longest row; the mask is 1 for
    tokens and 0 for padding.
    """
    rows = np.asarray(positions, np.int64)
    starts = tokens.offsets[rows]
    lengths = tokens.offsets[rows + 1] - starts
    longest = int(lengths.max())
    columns = np.arange(longest + -longest % pad_to if isinstance(pad_to, int) else pad_to(longest))
    is_token = columns < lengths[:, None]
    # Behind a row's tokens are those of the next rows; behind the last row there are none.
    input_ids = tokens.values.take(starts[:, None] + columns, mode="clip").astype(np.int64)
    input_ids[~is_token] = pad_id
    return input_ids, is_token.astype(np.int64)


def by_length(lengths: NDArray[np.int64], batch_size: int) -> Iterator[list[int]]:
    """Positions of all tweets in batches of similar length, from the shortest to the longest."""
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        yield order[begin : begin + batch_size].tolist()
