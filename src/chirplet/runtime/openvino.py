"""OpenVINO on the CPU."""

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from chirplet.error import ConfigError, ModelError
from chirplet.hardware import cpu_threads
from chirplet.runtime.base import Precision, RuntimeName
from chirplet.runtime.extra import needs
from chirplet.runtime.parts import Feed, Logits, PartwiseRuntime

MODEL = "openvino_model.xml"
REMEDY = 'pip install "chirplet[openvino]"'
HINTS = {"bf16-mixed": "bf16", "32-true": "f32"}


class OpenVinoRuntime(PartwiseRuntime):
    """A compiled `openvino_model.xml`, which takes `input_ids` and `attention_mask` and gives `logits`.

    What is not int8 is computed in bf16 where the CPU has it natively, unless `precision` is `32-true`.
    """

    name: ClassVar[RuntimeName] = "openvino"
    device = "cpu"

    def __init__(self, core: Any, model: Any, settings: dict[str, Any], kind: str, threads: int) -> None:
        together = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        compiled = core.compile_model(model, "CPU", settings | together)
        rest = compiled.get_property("INFERENCE_PRECISION_HINT").to_string().replace("f32", "fp32")
        self.precision = "/".join(part for part in (kind, rest) if part)
        self.threads = threads
        self.core, self.model, self.settings = core, model, settings
        self.request = compiled.create_infer_request()
        self.asked = Lock()  # a request computes one batch at a time

    @classmethod
    def open(cls, folder: Path, accelerator: str, threads: int | None, precision: Precision) -> Self:
        """As `chirplet.runtime.base.open_runtime`."""
        if accelerator not in {"auto", "cpu"}:
            raise ConfigError(f"trainer.accelerator: got {accelerator!r}, but OpenVINO computes on the CPU here")
        with needs("openvino", REMEDY):
            import openvino
        hint = {"INFERENCE_PRECISION_HINT": HINTS[precision]} if precision in HINTS else {}
        core = openvino.Core()
        try:
            model = core.read_model(folder / MODEL)
            kind = str(model.get_rt_info("chirplet_precision").value) if model.has_rt_info("chirplet_precision") else ""
            return cls(core, model, hint, kind, cpu_threads(threads))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"artifact: {str(folder / MODEL)!r} cannot be opened ({reason})") from error

    def together(self, feed: Feed) -> Logits:
        with self.asked:
            return _infer(self.request, feed)

    def alone(self) -> Callable[[Feed], Logits]:
        apart = {"NUM_STREAMS": self.threads, "INFERENCE_NUM_THREADS": self.threads}
        compiled = self.core.compile_model(self.model, "CPU", self.settings | apart)
        idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.threads):
            idle.put(compiled.create_infer_request())

        def infer(feed: Feed) -> Logits:
            request = idle.get()
            try:
                return _infer(request, feed)
            finally:
                idle.put(request)

        return infer


def _infer(request: Any, feed: Feed) -> Logits:
    return np.array(request.infer(feed, share_inputs=True)["logits"], dtype=np.float32)
