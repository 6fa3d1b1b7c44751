"""What every runtime does, which one a folder is for, and logits of many tweets."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.data.padding import Ids, by_length, padded
from chirplet.data.tokens import Tokens
from chirplet.error import ModelError

Precision = Literal["auto", "stored", "32-true", "bf16-mixed"]
"""What is computed in: `stored` is the type of the weights, `auto` bf16 where those are fp32 and the device multiplies
bf16 natively. A quantized model computes in what it was made for."""

RuntimeName = Literal["pytorch", "pytorch_int8", "onnxruntime", "openvino"]

MODEL_FILES: dict[str, RuntimeName] = {
    "model.safetensors": "pytorch",
    "model_int8.safetensors": "pytorch_int8",
    "model.onnx": "onnxruntime",
    "openvino_model.xml": "openvino",
}
"""The file that tells what a folder is run by."""


class Runtime(ABC):
    """A classifier opened from its folder.

    `precision` is what it computes in, `device` on what, `threads` with how many of the CPU's threads.
    """

    name: ClassVar[RuntimeName]
    precision: str
    device: str
    threads: int

    @abstractmethod
    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        """Logits, shape (batch, classes), of tweets of shape (batch, tokens), padded on the right."""

    def logits_of_each(self, batches: Iterable[tuple[Ids, Ids]]) -> Iterator[NDArray[np.float32]]:
        """Logits of one batch after the other, ids and mask as above."""
        return (self.logits(*batch) for batch in batches)


def runtime_of(folder: Path) -> RuntimeName:
    """What the model in `folder` is run by.

    Raises:
        ModelError: there is no model in it, or more than one.
    """
    found = [name for name in MODEL_FILES if (folder / name).is_file()]
    if len(found) != 1:
        there = " and ".join(found) or "none"
        raise ModelError(f"{str(folder)!r} should hold one of {', '.join(MODEL_FILES)}, and holds {there}")
    return MODEL_FILES[found[0]]


def open_runtime(folder: Path, *, accelerator: str, threads: int | None, precision: Precision) -> Runtime:
    """The model in `folder`, ready to run.

    `threads: None` is what OMP_NUM_THREADS says, or as many as there are CPU cores for this process; with PyTorch it is
    what this process computes with already, if that is not more.

    Raises:
        ModelError: it is damaged, or of a runtime that is not installed.
        ConfigError: its runtime cannot do with that accelerator or precision.
    """
    name = runtime_of(folder)
    if name == "onnxruntime":
        from chirplet.runtime.onnxruntime import OnnxRuntime

        return OnnxRuntime.open(folder, accelerator, threads, precision)
    if name == "openvino":
        from chirplet.runtime.openvino import OpenVinoRuntime

        return OpenVinoRuntime.open(folder, accelerator, threads, precision)
    if name == "pytorch_int8":
        from chirplet.runtime.pytorch_int8 import PyTorchInt8Runtime

        return PyTorchInt8Runtime.open(folder, accelerator, threads, precision)
    from chirplet.runtime.pytorch import PyTorchRuntime

    return PyTorchRuntime.open(folder, accelerator, threads, precision)


def predict_logits(
    runtime: Runtime,
    tokens: Tokens,
    pad_id: int,
    batch_size: int,
    watched: Callable[[list[list[int]]], Iterable[list[int]]] = iter,
) -> NDArray[np.float32]:
    """Logits in the order of `tokens`, one tweet or more, computed from the shortest to the longest; (n, classes).

    `watched` goes through the batches, and may show how far it is.
    """
    batches = list(by_length(tokens.lengths, batch_size))
    parts = list(runtime.logits_of_each(padded(tokens, batch, pad_id) for batch in watched(batches)))
    logits = np.empty((len(tokens), parts[0].shape[1]), dtype=np.float32)
    logits[np.concatenate(batches)] = np.concatenate(parts)
    return logits
