"""The data that pruners may look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.tokens import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CalibrationData:
    """What a pruner may look at, train texts all of it.

    `tokens` and `labels` (n,) are a sample; `pad_id` fills up its batches; `uncut()` gives the tokens of every train
    text, none of them cut off.
    """

    tokens: Tokens
    labels: NDArray[np.int64]
    pad_id: int
    tokenizer: "PreTrainedTokenizerBase"
    uncut: Callable[[], Tokens]
