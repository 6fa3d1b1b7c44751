"""ONNX Runtime's int8: weights rounded once, one scale an output; what comes into a layer rounded batch by batch."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chirplet.quantizer.base import Calibration, Quantization, Quantizer
from chirplet.system.hardware import cpu_has_vnni

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OnnxInt8(Quantizer):
    """`reduce_range` keeps weights within 7 bits; `auto` where the CPU adds products of int8 up in 16 bits, which
    saturate: x86 without VNNI (onnxruntime#28415)."""

    reduce_range: Literal["auto"] | bool

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.onnx_int8_nodes import OnnxQuantization

        return OnnxQuantization(model, self.steps())

    def steps(self) -> int:
        """Steps from zero to the largest weight."""
        from chirplet.quantizer.graph.onnx_int8_nodes import REDUCED_STEPS, STEPS

        reduced = not cpu_has_vnni() if self.reduce_range == "auto" else self.reduce_range
        return REDUCED_STEPS if reduced else STEPS
