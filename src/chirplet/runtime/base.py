"""What every runtime does."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.padding import Ids, by_length, padded
from chirplet.data.batching.tokens import Tokens
from chirplet.runtime.probe import Probe

logger = logging.getLogger(__name__)

Precision = Literal["auto", "stored", "32-true", "bf16-mixed"]
"""What is computed in: `stored` is the type of the weights, `auto` bf16 where those are fp32 and the device multiplies
bf16 natively. A quantized model computes in what it was made for."""

RuntimeName = Literal["pytorch", "pytorch_int8", "onnxruntime", "openvino"]


class Runtime(ABC):
    """A classifier opened from its folder.

    `precision` is what it computes in, `device` on what, `threads` with how many of the CPU's threads. `probe` is what
    it was verified with, None where it was not.
    """

    name: ClassVar[RuntimeName]
    precision: str
    device: str
    threads: int
    probe: Probe | None = None

    @abstractmethod
    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        """Logits, shape (batch, classes), of texts of shape (batch, tokens), padded on the right."""

    def logits_of_each(self, batches: Iterable[tuple[Ids, Ids]]) -> Iterator[NDArray[np.float32]]:
        """Logits of one batch after the other, ids and mask as above."""
        return (self.logits(*batch) for batch in batches)


def predict_logits(
    runtime: Runtime,
    tokens: Tokens,
    pad_id: int,
    batch_size: int,
    watched: Callable[[list[list[int]]], Iterable[list[int]]] = iter,
) -> NDArray[np.float32]:
    """Logits in the order of `tokens`, one text or more, computed from the shortest to the longest; (n, classes).

    `watched` goes through the batches, and may show how far it is.
    """
    batches = list(by_length(tokens.lengths, batch_size))
    parts = list(runtime.logits_of_each(padded(tokens, batch, pad_id) for batch in watched(batches)))
    logits = np.empty((len(tokens), parts[0].shape[1]), dtype=np.float32)
    logits[np.concatenate(batches)] = np.concatenate(parts)
    return logits
