"""CUDA graphs: what a GPU computes for a batch is recorded once for each set of shapes, and replayed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WARM_UP = 2
"""Calls before a recording. Libraries prepare their work in the first, and optimizers make their state."""


@dataclass(frozen=True)
class _Recording:
    """The inputs that a replay reads, the results that it writes, and the replay."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    replay: Callable[[], Any]


class Captured:
    """A function of a batch whose kernels one CUDA graph launches, one graph for each set of shapes and flags.

    On a CPU each replay calls the function: the same code runs without a GPU.

    Args:
        function: computes tensors from a batch and flags. It reads no value from the device, and does the same work in
            each call with the same shapes and flags.
        device: where it computes.
        unchanged: a context that undoes the function's changes. The calls before a recording are made in it.
    """

    def __init__(
        self,
        function: Callable[..., dict[str, Tensor]],
        device: torch.device,
        unchanged: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.function = function
        self.device = device
        self.unchanged = unchanged
        self._recordings: dict[tuple[Any, ...], _Recording] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def __call__(self, batch: dict[str, Tensor], *flags: bool) -> dict[str, Tensor]:
        """The function's results for `batch` and `flags`. The next call overwrites them."""
        key = (flags, *((name, tensor.shape, tensor.dtype) for name, tensor in batch.items()))
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._recordings[key] = self._record(batch, flags)
        for name, tensor in batch.items():
            recording.inputs[name].copy_(tensor, non_blocking=True)
        recording.replay()
        return recording.outputs

    @property
    def shapes(self) -> list[dict[str, tuple[int, ...]]]:
        """The shapes of each recorded batch, by name."""
        return [{name: tuple(tensor.shape) for name, tensor in r.inputs.items()} for r in self._recordings.values()]

    def _record(self, batch: dict[str, Tensor], flags: tuple[bool, ...]) -> _Recording:
        inputs = {name: tensor.to(self.device, copy=True) for name, tensor in batch.items()}
        with self.unchanged(), _side_stream(self.device):
            for _ in range(WARM_UP):
                self.function(inputs, *flags)
        if self._pool is None:
            outputs: dict[str, Tensor] = {}
            return _Recording(inputs, outputs, lambda: outputs.update(self.function(inputs, *flags)))
        graph = torch.cuda.CUDAGraph()
        # Other threads, for example one that pins batches, may use CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = self.function(inputs, *flags)
        return _Recording(inputs, outputs, graph.replay)


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Compute on another stream than the current one, as a recording does, between what is before and after."""
    if device.type != "cuda":
        yield
        return
    current, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)
