"""What a pruner is: settings that find out what a model can do without, and take it away."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chirplet.config.schema import Settings
from chirplet.data.batching.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from chirplet.pruner.masking.schedule import Masking

Masks = Mapping[str, "Tensor"]
"""By the name of a parameter, which of its numbers are kept: boolean, of the parameter's shape."""


@dataclass(frozen=True)
class Evidence:
    """What a pruner may look at, train tweets all of it.

    `tokens` and `labels` (n,) are a sample; `pad_id` fills up its batches; `uncut()` gives the tokens of every train
    tweet, none of them cut off.
    """

    tokens: Tokens
    labels: NDArray[np.int64]
    pad_id: int
    tokenizer: "PreTrainedTokenizerBase"
    uncut: Callable[[], Tokens]


@dataclass(frozen=True)
class Pruned:
    """What is left of a model: itself, the tokenizer that goes along, the masks that recovery has to keep to.

    `facts` is what was decided on the way, for the record.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    masks: Masks
    facts: dict[str, Any]


class Pruner(Settings, ABC):
    """Settings of one way to prune."""

    @property
    def trained(self) -> bool:
        """Whether pruning goes on during the recovery, which there has to be then."""
        return False

    def check(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        """See that model and tokenizer can be pruned so, before anything is computed.

        Raises:
            PruningError: it cannot.
        """

    def reached(self, model: "PreTrainedModel") -> float | None:
        """The share of zeros among the weights in scope, where single ones are pruned."""
        return None

    @abstractmethod
    def prune(self, model: "PreTrainedModel", evidence: Evidence) -> Pruned:
        """Take away what can go before any training.

        Args:
            model: a trained classifier in fp32, on the CPU, in evaluation mode; it may be changed.
            evidence: train tweets.

        Raises:
            PruningError: the model cannot be pruned so.
        """

    def masking(self, pruned: Pruned, evidence: Evidence, steps: int) -> "Masking":
        """What holds the masks over so many optimizer steps of recovery."""
        from chirplet.pruner.masking.schedule import Masking

        return Masking(pruned.model, pruned.masks)
