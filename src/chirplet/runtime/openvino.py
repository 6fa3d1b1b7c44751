"""OpenVINO on the CPU."""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from chirplet.data.padding import Ids
from chirplet.error import ConfigError, ModelError
from chirplet.hardware import cpu_cores
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.runtime.extra import needs

MODEL = "openvino_model.xml"
REMEDY = 'pip install "chirplet[openvino]"'
HINTS = {"bf16-mixed": "bf16", "32-true": "f32"}

PART = 8
"""Tweets that one thread computes at a time where there are enough for all: threads that share a product wait for each
other at each, and what passes between the layers of so few stays in the cache."""


class OpenVinoRuntime(Runtime):
    """A compiled `openvino_model.xml`, which takes `input_ids` and `attention_mask` and gives `logits`.

    All threads work on one small batch together; of a large batch each works on a part of its own. What is not int8 is
    computed in bf16 where the CPU has it natively, unless `precision` is `32-true`.
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
        self.requests: list[Any] = []

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
            return cls(core, model, hint, kind, threads or cpu_cores())
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"artifact: {str(folder / MODEL)!r} cannot be opened ({reason})") from error

    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        if self.threads == 1 or len(input_ids) < 2 * PART:
            found = self.request.infer(_feed(input_ids, attention_mask), share_inputs=True)
            return np.array(found["logits"], dtype=np.float32)
        starts = range(0, len(input_ids), PART)
        return np.concatenate(
            [
                part
                for first in range(0, len(starts), self.threads)
                for part in self._at_once(input_ids, attention_mask, starts[first : first + self.threads])
            ]
        )

    def _at_once(self, input_ids: Ids, attention_mask: Ids, starts: range) -> list[NDArray[np.float32]]:
        """Logits of the parts that begin there, one thread each."""
        if not self.requests:
            apart = {"NUM_STREAMS": self.threads, "INFERENCE_NUM_THREADS": self.threads}
            compiled = self.core.compile_model(self.model, "CPU", self.settings | apart)
            self.requests = [compiled.create_infer_request() for _ in range(self.threads)]
        busy = list(zip(self.requests, starts, strict=False))
        for request, start in busy:
            part = slice(start, start + PART)
            request.start_async(_feed(input_ids[part], attention_mask[part]), share_inputs=True)
        for request, _ in busy:
            request.wait()
        return [np.array(request.get_tensor("logits").data, dtype=np.float32) for request, _ in busy]


def _feed(input_ids: Ids, attention_mask: Ids) -> dict[str, Ids]:
    """Without the columns that are padding in all of these tweets."""
    longest = int(attention_mask.sum(axis=1).max())
    return {
        name: np.ascontiguousarray(values[:, :longest])
        for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask))
    }
