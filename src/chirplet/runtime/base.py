"""Base class of the runtimes, and prediction in batches."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.padding import Ids, by_length, padded
from chirplet.data.batching.tokens import Tokens
from chirplet.runtime.probe import Probe
from chirplet.system.progress import Progress

logger = logging.getLogger(__name__)

Precision = Literal["auto", "stored", "32-true", "bf16-mixed", "16-mixed"]
"""Precision of the computation: `stored` is the dtype of the weights, `auto` is that of `automatic_precision` if the
weights are fp32. A quantized model determines its precision itself."""

RuntimeName = Literal["pytorch", "pytorch_int8", "onnxruntime", "openvino"]


class Runtime(ABC):
    """A classifier opened from its folder.

    Attributes:
        precision: precision of the computation.
        device: device of the computation.
        threads: number of CPU threads.
        probe: the probe with which the model was verified; None if it was not.
    """

    name: ClassVar[RuntimeName]
    precision: str
    device: str
    threads: int
    probe: Probe | None = None

    @property
    def batch_texts(self) -> int:
        """Texts of a batch that is computed fast: with more, each text takes about as long."""
        return 32

    @abstractmethod
    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        """Logits, shape (batch, classes), for ids and mask of shape (batch, tokens), padded on the right."""

    def logits_of_each(self, batches: Iterable[tuple[Ids, Ids]]) -> Iterator[NDArray[np.float32]]:
        """Logits of each batch of ids and mask."""
        return (self.logits(*batch) for batch in batches)


def predict_logits(
    runtime: Runtime,
    tokens: Tokens,
    pad_id: int,
    batch_size: int,
    what: str = "evaluating",
) -> NDArray[np.float32]:
    """Logits in the order of `tokens`, shape (n, classes), computed in batches from the shortest text to the longest.

    `tokens` has one text or more. `what` names the work where its progress is shown.
    """
    batches = list(by_length(tokens.lengths, batch_size))
    with Progress(what, len(tokens)) as progress:
        parts = list(runtime.logits_of_each(padded(tokens, batch, pad_id) for batch in progress(batches, len)))
    logits = np.empty((len(tokens), parts[0].shape[1]), dtype=np.float32)
    logits[np.concatenate(batches)] = np.concatenate(parts)
    return logits
