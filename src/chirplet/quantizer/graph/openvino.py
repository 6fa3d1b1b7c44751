"""Quantize a classifier for OpenVINO: NNCF on the fp32 graph."""

import contextlib
import io
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from chirplet.data.batching.padding import padded
from chirplet.quantizer.base import Calibration, Quantization
from chirplet.quantizer.graph.arithmetic import RENAMED, Arithmetic, is_operation_of
from chirplet.quantizer.graph.classifier import ClassifierGraph
from chirplet.quantizer.graph.of_model import graph_of
from chirplet.runtime.openvino import MODEL, REMEDY
from chirplet.system.optional_dependency import needs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OpenVinoWeights(Quantization):
    """Weights in int8. The runtime quantizes activations with a scale per `group_size` channels of a token."""

    def __init__(self, model: "PreTrainedModel", group_size: int, workspace: Path) -> None:
        self.config = model.config
        self.group_size = group_size
        graph = graph_of(model)
        with _nncf() as (_, openvino):
            self.converted = openvino.convert_model(write_graph(graph, workspace))
        # NNCF does not quantize the table of positions, which is sliced instead of looked up.
        self.layers = tuple(name for name in graph.layers if _compressed(self.converted, name))
        activations = f"int8, one scale for {group_size} channels of a token" if group_size else "not quantized"
        self.facts: dict[str, Any] = {"weights": "int8, one scale an output or row", "activations": activations}
        self.facts |= graph.facts

    def write(self, folder: Path, excluded: Collection[str]) -> None:
        model = self.converted.clone()
        with _nncf() as (nncf, _):
            ignored = nncf.IgnoredScope(
                names=[op.get_friendly_name() for layer in excluded for op in _operations(model, layer)]
            )
            mode = nncf.CompressWeightsMode.INT8_SYM
            model = nncf.compress_weights(model, mode=mode, ignored_scope=ignored)
        model.set_rt_info(str(self.group_size), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
        _save(model, folder, self.config)


class OpenVinoStatic(Quantization):
    """Calibrates once. Excluding a layer removes the rounding of its input and weight."""

    def __init__(
        self, model: "PreTrainedModel", calibration: Calibration, texts: int, alpha: float, workspace: Path
    ) -> None:
        self.config = model.config
        tokens, order = calibration.tokens, np.argsort(calibration.tokens.lengths, kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, min(texts, len(order))).round().astype(int)]
        inputs = [padded(tokens, [int(i)], calibration.pad_id) for i in chosen]
        feeds = [{"input_ids": ids, "attention_mask": mask} for ids, mask in inputs]
        graph = graph_of(model)
        with _nncf() as (nncf, openvino):
            from nncf.quantization.advanced_parameters import (
                AdvancedQuantizationParameters,
                AdvancedSmoothQuantParameters,
            )

            advanced = AdvancedQuantizationParameters(
                smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=alpha),
                backend_params={"compress_weights": False},
            )
            converted = openvino.convert_model(write_graph(graph, workspace))
            self.calibrated = nncf.quantize(
                converted,
                nncf.Dataset(feeds),
                ignored_scope=nncf.IgnoredScope(names=_exported_products(converted)),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(feeds),
                advanced_parameters=advanced,
            )
        self.layers = tuple(name for name in graph.layers if self._roundings(self.calibrated, name))
        self.facts: dict[str, Any] = {
            "weights": "int8, one scale an output or row",
            "activations": "int8, one scale a layer",
            "calibration_texts": len(feeds),
        } | graph.facts

    def write(self, folder: Path, excluded: Collection[str]) -> None:
        model = self.calibrated.clone()
        for name in excluded:
            for target, rounding in self._roundings(model, name):
                target.replace_source_output(rounding.input_value(0))
        # NNCF would do this in `quantize`, but layers are excluded only after that.
        from openvino._offline_transformations import compress_quantize_weights_transformation

        compress_quantize_weights_transformation(model)
        _save(model, folder, self.config)

    def _roundings(self, model: Any, layer: str) -> list[tuple[Any, Any]]:
        """Inputs of a layer's product that come from a `FakeQuantize`, each with that node."""
        targets = [target for operation in _operations(model, layer) for target in operation.inputs()]
        pairs = [(target, target.get_source_output().get_node()) for target in targets]
        return [(target, source) for target, source in pairs if source.get_type_name() == "FakeQuantize"]


def write_graph(graph: ClassifierGraph, workspace: Path) -> Path:
    """Write the fp32 graph to the workspace, where it must stay, since a converted model may be mapped from it."""
    path = workspace / "fp32.onnx"
    onnx.save(graph.build(Arithmetic(), {}), path)
    return path


def _operations(model: Any, layer: str) -> list[Any]:
    """The products of a linear layer, or the lookups of a table."""
    return [operation for operation in model.get_ops() if is_operation_of(layer, operation.get_friendly_name())]


def _exported_products(model: Any) -> list[str]:
    """Products of an exported graph that are no layer's: those of attention.

    NNCF would round the attention of each token to the average of the largest ones, which a short text exceeds. It does
    not do so in graphs written by hand, whose attention OpenVINO fuses.
    """
    names = [str(op.get_friendly_name()) for op in model.get_ops() if op.get_type_name() == "MatMul"]
    return [name for name in names if name.startswith(RENAMED)]


def _compressed(model: Any, layer: str) -> bool:
    return any(operation.get_type_name() in {"MatMul", "Gather"} for operation in _operations(model, layer))


def _save(model: Any, folder: Path, config: Any) -> None:
    import openvino

    model.set_rt_info("int8", "chirplet_precision")
    openvino.save_model(model, folder / MODEL, compress_to_fp16=True)
    config.save_pretrained(folder)


@contextlib.contextmanager
def _nncf() -> Iterator[tuple[Any, Any]]:
    """Import `nncf` and `openvino`, and suppress their output on the terminal."""
    with needs("nncf", REMEDY), contextlib.redirect_stdout(io.StringIO()):
        import nncf
        import openvino

        nncf.set_log_level(logging.ERROR)
        yield nncf, openvino
