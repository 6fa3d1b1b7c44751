"""Inference on a GPU: CUDA graphs for batches of few shapes, and no waiting between batches."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chirplet.data.batching.padding import Ids, few_lengths
from chirplet.system.cuda_graphs import Captured

PENDING = 64
"""Most batches that are sent before the result of the first is read."""
FEW_ROWS = 8
"""Rows of a padded batch of two texts or more, at least: they take as long as two."""
SENDING = Lock()
"""One thread sends at a time, since a graph reads all batches from one place."""

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class _Sent:
    """Logits on the host, which are there once `done` is; None if they are there."""

    logits: Tensor
    done: torch.cuda.Event | None

    def result(self) -> NDArray[np.float32]:
        if self.done is not None:
            self.done.synchronize()
        return np.array(self.logits.numpy())


class DeviceQueue:
    """Computes batches on a device in the order in which they are sent, and waits for nothing but the results.

    Args:
        function: `logits`, float32, shape (batch, classes), of `input_ids` and `attention_mask`, shape (batch, tokens).
        device: where it computes.
        longest: the most tokens of a text, if `function` is to be captured: it reads no value from the device, and
            batches are padded to few shapes. None calls it for each batch as it is.
    """

    def __init__(self, function: Callable[[Batch], Batch], device: torch.device, longest: int | None) -> None:
        self.device = device
        self.longest = longest
        self._function = function
        self._captured = None if longest is None else Captured(function, device)
        self._is_cuda = device.type == "cuda"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes (texts, tokens) that were captured."""
        return [] if self._captured is None else [shape["input_ids"] for shape in self._captured.shapes]

    def logits_of_each(self, batches: Iterable[tuple[Ids, Ids]]) -> Iterator[NDArray[np.float32]]:
        """Logits of each batch of ids and mask, at most `PENDING` batches late."""
        pending: deque[_Sent] = deque()
        for batch in batches:
            pending.append(self._send(*batch))
            if len(pending) > PENDING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    @torch.inference_mode()
    def _send(self, input_ids: Ids, attention_mask: Ids) -> _Sent:
        texts, tokens = input_ids.shape
        shape = (texts, tokens) if self.longest is None else few_shapes(texts, tokens, self.longest)
        batch = {"input_ids": self._on_host(input_ids, shape), "attention_mask": self._on_host(attention_mask, shape)}
        batch["attention_mask"][len(input_ids) :, 0] = 1  # the softmax of a text without tokens would be NaN
        with SENDING:
            if self._captured is None:
                batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
                logits = self._function(batch)["logits"]
            else:
                logits = self._captured(batch)["logits"][: len(input_ids)]
            # Copied before the next batch, which overwrites them on the device.
            host = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=self._is_cuda)
            host.copy_(logits, non_blocking=True)
            done = torch.cuda.Event() if self._is_cuda else None
            if done is not None:
                done.record()
        return _Sent(host, done)

    def _on_host(self, values: Ids, shape: tuple[int, ...]) -> Tensor:
        """The values in memory that a GPU reads by itself, padded with zeros."""
        tensor = torch.zeros(shape, dtype=torch.int64, pin_memory=self._is_cuda)
        tensor[: values.shape[0], : values.shape[1]] = torch.from_numpy(values)
        return tensor


def few_shapes(texts: int, tokens: int, longest: int) -> tuple[int, int]:
    """The shape to which a batch of shape (texts, tokens) is padded: one text, or a power of two from `FEW_ROWS`."""
    rows = 1 if texts == 1 else max(FEW_ROWS, 1 << (texts - 1).bit_length())
    return rows, few_lengths(tokens, max(tokens, longest))
