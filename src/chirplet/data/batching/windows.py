"""Long texts as windows of tokens that overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.tokens import Tokens


@dataclass(frozen=True)
class Windows:
    """The windows of n texts: those of text i are `tokens[first[i]]` to `tokens[first[i + 1] - 1]`."""

    tokens: Tokens
    first: NDArray[np.int64]


def windows_of(tokens: Tokens, special: tuple[list[int], list[int]], max_length: int, overlap: float) -> Windows:
    """Split texts into windows of at most `max_length` tokens, with the special tokens around each.

    All windows of a long text are full: the last one ends where the text ends.

    Args:
        tokens: the texts, not truncated.
        special: the special tokens before and behind each text.
        max_length: tokens of a window, special ones included.
        overlap: the least share of a window that is also in the one before, 0 <= overlap < 1.
    """
    before, behind = (np.array(part, np.int32) for part in special)
    width = max(1, max_length - len(before) - len(behind))
    step = max(1, int(width * (1.0 - overlap)))
    rows: list[NDArray[np.int32]] = []
    first = [0]
    for position in range(len(tokens)):
        row = tokens[position]
        last = len(row) - len(before) - len(behind) - width
        if last <= 0:
            rows.append(row)
        else:
            text = row[len(before) : len(row) - len(behind)]
            starts = [*range(0, last, step), last]
            rows += [np.concatenate([before, text[start : start + width], behind]) for start in starts]
        first.append(len(rows))
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    values = np.concatenate(rows) if rows else np.empty(0, np.int32)
    return Windows(Tokens(values, offsets), np.array(first, np.int64))
