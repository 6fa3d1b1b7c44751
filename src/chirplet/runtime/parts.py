"""How a batch is cut for threads that each compute some tweets of it alone."""

import numpy as np

from chirplet.data.padding import Ids

PART = 8
"""Tweets that one thread computes at a time where there are enough for all: threads that share a product wait for each
other at each, and what passes between the layers of so few stays in the cache."""


def parts(input_ids: Ids, attention_mask: Ids, threads: int) -> list[dict[str, Ids]]:
    """The batch (batch, tokens) by parts of `PART` tweets, in order; one part where all threads compute it together.

    Parts are without the columns that are padding in all of their tweets. There are several where there is more than
    one thread, and a part for each.
    """
    apart = threads > 1 and len(input_ids) >= threads * PART
    size = PART if apart else len(input_ids)
    return [_part(input_ids[i : i + size], attention_mask[i : i + size]) for i in range(0, len(input_ids), size)]


def _part(input_ids: Ids, attention_mask: Ids) -> dict[str, Ids]:
    longest = int(attention_mask.sum(axis=1).max())
    return {
        name: np.ascontiguousarray(values[:, :longest])
        for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask))
    }
