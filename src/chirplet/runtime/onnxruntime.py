"""ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from chirplet.data.padding import Ids
from chirplet.error import ConfigError, ModelError
from chirplet.hardware import cpu_cores
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.runtime.extra import needs

MODEL = "model.onnx"
SLOWER = ["SkipLayerNormFusion"]
"""Fusions left out: adding a residual and normalising in one step takes six times as long as in two."""


class OnnxRuntime(Runtime):
    """A session on `model.onnx`, which takes `input_ids` and `attention_mask` and gives `logits`."""

    name: ClassVar[RuntimeName] = "onnxruntime"
    device = "cpu"

    def __init__(self, session: Any, threads: int) -> None:
        self.session = session
        self.threads = threads
        self.precision = session.get_modelmeta().custom_metadata_map.get("precision", "fp32")

    @classmethod
    def open(cls, folder: Path, accelerator: str, threads: int | None, precision: Precision) -> Self:
        """As `chirplet.runtime.base.open_runtime`."""
        if accelerator not in {"auto", "cpu"}:
            raise ConfigError(f"trainer.accelerator: got {accelerator!r}, but ONNX Runtime computes on the CPU here")
        if precision not in {"auto", "stored"}:
            raise ConfigError(f"precision: got {precision!r}, should be auto: {MODEL} says itself what it computes in")
        with needs("onnxruntime", "pip install onnxruntime"):
            import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cpu_cores()
        try:
            session = onnxruntime.InferenceSession(
                str(folder / MODEL), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER
            )
        except Exception as error:  # on damaged files it raises exceptions of every kind
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"artifact: {str(folder / MODEL)!r} cannot be opened ({reason})") from error
        return cls(session, options.intra_op_num_threads)

    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        (values,) = self.session.run(["logits"], {"input_ids": input_ids, "attention_mask": attention_mask})
        found: NDArray[np.float32] = values
        return found
