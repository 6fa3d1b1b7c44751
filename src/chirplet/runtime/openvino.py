"""Runtime for OpenVINO models on the CPU."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from chirplet.runtime.base import Precision, RuntimeName
from chirplet.runtime.threaded import Feed, Logits, PartwiseRuntime
from chirplet.system.error import ConfigError, ModelError
from chirplet.system.hardware import cpu_flags, cpu_has_bf16, cpu_threads
from chirplet.system.optional_dependency import needs

MODEL = "openvino_model.xml"
REMEDY = 'pip install "chirplet[openvino]"'
HINTS = {"bf16-mixed": "bf16", "32-true": "f32"}
SETTINGS = {"SNIPPETS_MODE": "DISABLE"}
"""Attention is not fused: with AMX in bf16, the fused attention of OpenVINO 2026.4.1 is wrong if the batch has as many
tokens as a head has dimensions (by 4.5 logits for MiniLM's 32; other lengths up to 64 are right). Unfused attention is
as fast, in bf16 and fp32, with and without AMX. Not reported upstream; openvino#38256 is about wrong bf16 products on
AMD."""


class OpenVinoRuntime(PartwiseRuntime):
    """A compiled `openvino_model.xml`, with inputs `input_ids` and `attention_mask` and output `logits`.

    Operations that are not int8 are computed in bf16 if the CPU has native bf16 and the probe is reproduced, unless
    `precision` is `32-true`.
    """

    name: ClassVar[RuntimeName] = "openvino"
    device = "cpu"

    def __init__(self, core: Any, model: Any, settings: dict[str, Any], threads: int) -> None:
        latency = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        compiled = core.compile_model(model, "CPU", settings | latency)
        weights = str(model.get_rt_info("chirplet_precision").value) if model.has_rt_info("chirplet_precision") else ""
        rest = compiled.get_property("INFERENCE_PRECISION_HINT").to_string().replace("f32", "fp32")
        self.precision = "/".join(part for part in (weights, rest) if part)
        self.threads = threads
        self.parts_are_right = rest == "fp32" or "amx_bf16" not in cpu_flags()  # see `alone`
        self.core, self.model, self.settings = core, model, settings
        self.request = compiled.create_infer_request()
        self.request_lock = Lock()  # a request computes one batch at a time

    @classmethod
    def ways(
        cls, folder: Path, accelerator: str, threads: int | None, precision: Precision
    ) -> Sequence[Callable[[], Self]]:
        """Functions that open the model, as in `chirplet.runtime.open.runtime_ways`: bf16 if native, then fp32."""
        if accelerator not in {"auto", "cpu"}:
            raise ConfigError(
                f"trainer.accelerator: got {accelerator!r}, should be auto or cpu: OpenVINO computes on the CPU"
            )
        automatic = ["bf16", "f32"] if cpu_has_bf16() else ["f32"]
        hints = [HINTS[precision]] if precision in HINTS else automatic
        return [partial(cls._open, folder, hint, cpu_threads(threads)) for hint in hints]

    @classmethod
    def _open(cls, folder: Path, hint: str, threads: int) -> Self:
        core = openvino_core()
        settings = SETTINGS | {"INFERENCE_PRECISION_HINT": hint}
        try:
            return cls(core, core.read_model(folder / MODEL), settings, threads)
        except RuntimeError as error:
            raise ModelError(f"artifact: {str(folder / MODEL)!r} cannot be opened ({_reason(error)})") from error

    def together(self, feed: Feed) -> Logits:
        with self.request_lock:
            return _infer(self.request, feed)

    def alone(self) -> Callable[[Feed], Logits]:
        """One stream per thread.

        With AMX in bf16 and two streams, logits of OpenVINO 2026.4.1 differ between calls, by hundreds for a model of
        hidden size 32; one stream is right, and so are several in fp32. Not reported upstream.
        """
        streams = {"NUM_STREAMS": self.threads, "INFERENCE_NUM_THREADS": self.threads}
        compiled = self.core.compile_model(self.model, "CPU", self.settings | streams)
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


@cache
def openvino_core() -> Any:
    """OpenVINO's `Core`, one per process.

    Every `Core` of 2026.4.1 sets the thread's signal stack and restores the previous one when it is closed. With
    several at a time, the thread may be left with a freed stack, and the next Ctrl-C is a segmentation fault.

    Raises:
        DependencyError: OpenVINO is not installed.
    """
    with needs("openvino", REMEDY):
        import openvino
    return openvino.Core()


def _infer(request: Any, feed: Feed) -> Logits:
    try:
        return np.array(request.infer(feed, share_inputs=True)["logits"], dtype=np.float32)
    except RuntimeError as error:
        raise ModelError(f"artifact: OpenVINO cannot compute {MODEL} here ({_reason(error)})") from error


def _reason(error: RuntimeError) -> str:
    return " ".join(str(error).split())[:200]
