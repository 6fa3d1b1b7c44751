"""ONNX Runtime's dynamic int8: weights with a scale per output; a layer's input with a scale per batch."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from chirplet.quantizer.base import Calibration, Quantization, Quantizer
from chirplet.system.hardware import cpu_has_vnni

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class OnnxInt8(Quantizer):
    """Quantizes to dynamic int8.

    `reduce_range` uses 7 bits for weights. `auto` does so on x86 CPUs without VNNI, which sum int8 products in 16 bits
    that saturate (onnxruntime#28415).
    """

    runtime: ClassVar[str] = "onnxruntime"

    reduce_range: Literal["auto"] | bool

    def check(self, config: "PretrainedConfig") -> None:
        from chirplet.quantizer.graph.of_model import check_graph

        check_graph(config)

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.onnx_int8_nodes import OnnxQuantization

        return OnnxQuantization(model, self.steps())

    def steps(self) -> int:
        """Steps from zero to the largest weight."""
        from chirplet.quantizer.graph.onnx_int8_nodes import REDUCED_STEPS, STEPS

        reduced = not cpu_has_vnni() if self.reduce_range == "auto" else self.reduce_range
        return REDUCED_STEPS if reduced else STEPS
