"""The data that pruners may look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chirplet.data.batching.tokens import Tokens
from chirplet.task.base import Targets, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CalibrationData:
    """What a pruner may look at, train texts all of it.

    `tokens` and `targets`, as `task` has them, are a sample; `pad_id` fills up its batches; `uncut()` gives the tokens
    of every train text, none of them cut off.
    """

    task: Task
    tokens: Tokens
    targets: Targets
    pad_id: int
    tokenizer: "PreTrainedTokenizerBase"
    uncut: Callable[[], Tokens]
