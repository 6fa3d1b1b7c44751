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


class OpenVinoRuntime(Runtime):
    """A compiled `openvino_model.xml`, which takes `input_ids` and `attention_mask` and gives `logits`.

    What is not int8 is computed in bf16 where the CPU has it natively, unless `precision` is `32-true`.
    """

    name: ClassVar[RuntimeName] = "openvino"
    device = "cpu"

    def __init__(self, compiled: Any, precision: str, threads: int) -> None:
        self.request = compiled.create_infer_request()
        self.precision = precision
        self.threads = threads

    @classmethod
    def open(cls, folder: Path, accelerator: str, threads: int | None, precision: Precision) -> Self:
        """As `chirplet.runtime.base.open_runtime`."""
        if accelerator not in {"auto", "cpu"}:
            raise ConfigError(f"trainer.accelerator: got {accelerator!r}, but OpenVINO computes on the CPU here")
        with needs("openvino", REMEDY):
            import openvino
        count = threads or cpu_cores()
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": count, "PERFORMANCE_HINT": "LATENCY"}
        if precision in HINTS:
            settings["INFERENCE_PRECISION_HINT"] = HINTS[precision]
        core = openvino.Core()
        try:
            model = core.read_model(folder / MODEL)
            kind = str(model.get_rt_info("chirplet_precision").value) if model.has_rt_info("chirplet_precision") else ""
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"artifact: {str(folder / MODEL)!r} cannot be opened ({reason})") from error
        rest = compiled.get_property("INFERENCE_PRECISION_HINT").to_string().replace("f32", "fp32")
        return cls(compiled, "/".join(part for part in (kind, rest) if part), count)

    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        found = self.request.infer({"input_ids": input_ids, "attention_mask": attention_mask}, share_inputs=True)
        values: NDArray[np.float32] = np.array(found["logits"], dtype=np.float32)
        return values
