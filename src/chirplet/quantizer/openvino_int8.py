"""OpenVINO's static int8: the ranges of activations are calibrated on train texts.

SmoothQuant (Xiao et al. 2023, arXiv 2211.10438) moves outliers of channels from activations into weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from chirplet.config.schema import Count, Probability
from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class OpenVinoInt8(Quantizer):
    """Quantizes to static int8, calibrated on `calibration_texts` train texts.

    `smooth_quant_alpha` is the share of an outlier that is moved into the weights.
    """

    extra = "openvino"
    runtime: ClassVar[str] = "openvino"

    calibration_texts: Count
    smooth_quant_alpha: Probability

    def check(self, config: "PretrainedConfig") -> None:
        from chirplet.quantizer.graph.of_model import check_graph

        check_graph(config)

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.openvino import OpenVinoStatic

        return OpenVinoStatic(model, calibration, self.calibration_texts, self.smooth_quant_alpha, workspace)
