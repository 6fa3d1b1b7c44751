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
from chirplet.runtime.parts import parts

MODEL = "openvino_model.xml"
REMEDY = 'pip install "chirplet[openvino]"'
HINTS = {"bf16-mixed": "bf16", "32-true": "f32"}


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
        feeds = parts(input_ids, attention_mask, self.threads)
        if len(feeds) == 1:
            found = self.request.infer(feeds[0], share_inputs=True)
            return np.array(found["logits"], dtype=np.float32)
        turns = (feeds[i : i + self.threads] for i in range(0, len(feeds), self.threads))
        return np.concatenate([logits for turn in turns for logits in self._at_once(turn)])

    def _at_once(self, feeds: list[dict[str, Ids]]) -> list[NDArray[np.float32]]:
        """Logits of the parts, one thread each."""
        if not self.requests:
            apart = {"NUM_STREAMS": self.threads, "INFERENCE_NUM_THREADS": self.threads}
            compiled = self.core.compile_model(self.model, "CPU", self.settings | apart)
            self.requests = [compiled.create_infer_request() for _ in range(self.threads)]
        busy = self.requests[: len(feeds)]
        for request, feed in zip(busy, feeds, strict=True):
            request.start_async(feed, share_inputs=True)
        for request in busy:
            request.wait()
        return [np.array(request.get_tensor("logits").data, dtype=np.float32) for request in busy]
