"""OpenVINO's dynamic int8: weights with a scale per output; a layer's input with scales per token.

A text's logits then do not depend on the rest of its batch, and an outlier reduces the precision of its token only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from chirplet.config.schema import Index
from chirplet.quantizer.base import Calibration, Quantization, Quantizer
from chirplet.system.error import QuantizationError
from chirplet.system.hardware import cpu_flags

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


GROUP_SIZE = 384
"""The group size of `auto`, unless a layer has fewer inputs."""
LANES = 16
"""Group sizes must be a multiple of this: OpenVINO silently leaves other groups in floating point."""


class OpenVinoInt8Weights(Quantizer):
    """Quantizes weights to int8, and activations dynamically with a scale per `group_size` channels of a token.

    0 leaves activations in floating point. `auto` is 384, or the inputs of the narrowest layer if fewer, and 0 on CPUs
    without VNNI, which OpenVINO does not support.
    """

    extra = "openvino"
    runtime: ClassVar[str] = "openvino"

    group_size: Literal["auto"] | Index

    def check(self, config: "PretrainedConfig") -> None:
        from chirplet.quantizer.graph.of_model import check_graph

        check_graph(config)

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.openvino import OpenVinoWeights

        return OpenVinoWeights(model, self._checked(_largest_group(model)), workspace)

    def _checked(self, largest: int) -> int:
        """The group size for a model whose layers support groups of up to `largest` channels."""
        if self.group_size == "auto":
            return min(GROUP_SIZE, largest)
        if self.group_size % LANES or self.group_size > largest:
            should = f"auto, 0 or a multiple of {LANES} up to {largest}" if largest else "auto or 0 on this CPU"
            raise QuantizationError(f"quantizer.group_size: got {self.group_size}, should be {should}")
        return self.group_size


def _largest_group(model: "PreTrainedModel") -> int:
    from chirplet.quantizer.graph.of_model import fewest_inputs

    if cpu_flags().isdisjoint({"avx512_vnni", "avx_vnni"}):
        return 0
    narrowest = fewest_inputs(model)
    return narrowest - narrowest % LANES
