"""ONNX Runtime on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from chirplet.data.padding import Ids
from chirplet.error import ConfigError, ModelError
from chirplet.hardware import cpu_cores, cpu_saturates_int8
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.runtime.extra import needs
from chirplet.runtime.parts import parts

MODEL = "model.onnx"
SLOWER = ["SkipLayerNormFusion"]
"""Fusions left out: adding a residual and normalising in one step takes six times as long as in two."""


class OnnxRuntime(Runtime):
    """Sessions on `model.onnx`, which takes `input_ids` and `attention_mask` and gives `logits`.

    All threads work on one small batch `together`; of a large batch each works on a part of its own, in a session for
    one thread that is opened when it is first needed.
    """

    name: ClassVar[RuntimeName] = "onnxruntime"
    device = "cpu"

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self.threads = threads
        self.together = _session(folder, threads)
        facts = self.together.get_modelmeta().custom_metadata_map
        self.precision = facts.get("precision", "fp32")
        if facts.get("weight_bits") == "8" and cpu_saturates_int8():
            raise ModelError(
                f"artifact: {str(folder / MODEL)!r} has weights of 8 bits, whose products this CPU, which has no VNNI, "
                "adds up wrongly; quantize its parent with quantizer.reduce_range=true"
            )

    @classmethod
    def open(cls, folder: Path, accelerator: str, threads: int | None, precision: Precision) -> Self:
        """As `chirplet.runtime.base.open_runtime`."""
        if accelerator not in {"auto", "cpu"}:
            raise ConfigError(f"trainer.accelerator: got {accelerator!r}, but ONNX Runtime computes on the CPU here")
        if precision not in {"auto", "stored"}:
            raise ConfigError(f"precision: got {precision!r}, should be auto: {MODEL} says itself what it computes in")
        return cls(folder, threads or cpu_cores())

    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        feeds = parts(input_ids, attention_mask, self.threads)
        if len(feeds) == 1:
            return _run(self.together, feeds[0])
        session, pool = self._apart
        return np.concatenate(list(pool.map(lambda feed: _run(session, feed), feeds)))

    @cached_property
    def _apart(self) -> tuple[Any, ThreadPoolExecutor]:
        """A session that computes in the thread that calls it, and threads that call it."""
        return _session(self.folder, 1), ThreadPoolExecutor(self.threads)


def _session(folder: Path, threads: int) -> Any:
    with needs("onnxruntime", "pip install onnxruntime"):
        import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            str(folder / MODEL), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER
        )
    except Exception as error:  # on damaged files it raises exceptions of every kind
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"artifact: {str(folder / MODEL)!r} cannot be opened ({reason})") from error


def _run(session: Any, feed: dict[str, Ids]) -> NDArray[np.float32]:
    (values,) = session.run(["logits"], feed)
    found: NDArray[np.float32] = values
    return found
