"""The calibration data of pruners."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chirplet.data.batching.tokens import Tokens
from chirplet.task.base import Targets, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CalibrationData:
    """A sample of train texts.

    `tokens` and `targets` are of the sample, `pad_id` pads its batches, and `uncut()` returns the untruncated tokens of
    all train texts.
    """

    task: Task
    tokens: Tokens
    targets: Targets
    pad_id: int
    tokenizer: "PreTrainedTokenizerBase"
    uncut: Callable[[], Tokens]
