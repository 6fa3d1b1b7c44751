"""CUDA graphs: what a GPU computes for a batch is recorded once for each set of shapes, and replayed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

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
        with _recording(graph, self._pool, _stream(self.device)):
            outputs = self.function(inputs, *flags)
        return _Recording(inputs, outputs, graph.replay)


@contextmanager
def _recording(graph: torch.cuda.CUDAGraph, pool: Any, stream: torch.cuda.Stream) -> Iterator[None]:
    """Record what is computed, in inference mode or not as before."""
    inference = torch.is_inference_mode_enabled()
    with (
        # The first recording makes the tensors from which all graphs read random numbers' seed and offset. Before torch
        # 2.13 those of inference could not be changed for training.
        torch.inference_mode(False),
        # Other threads, for example one that pins batches, may use CUDA meanwhile.
        torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
        torch.inference_mode(inference),
        _NumbersOnDevice(),
    ):
        yield


class _NumbersOnDevice(TorchFunctionMode):
    """Fills what `torch.tensor(NUMBER, device=...)` makes on the device: a graph cannot copy a number from the host.

    transformers before 5.20 calls it for the mask of eager attention.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and isinstance(args[0], int | float) and "device" in kwargs:
            return torch.full((), args[0], **kwargs)
        return func(*args, **kwargs)


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Compute on the stream of recordings, between what is before and after on the current one."""
    if device.type != "cuda":
        yield
        return
    current, side = torch.cuda.current_stream(device), _stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all recordings. cuBLAS keeps tens of megabytes for each stream that it was called on."""
    return torch.cuda.Stream(device)
