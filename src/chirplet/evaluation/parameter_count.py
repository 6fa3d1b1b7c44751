"""Count the weights of a saved model in its files, for every runtime.

Every weight counts once, whatever its number of bits, so an int8 model has as many as its fp32 parent. Scales and zero
points of quantization do not count.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from chirplet.runtime.base import RuntimeName
from chirplet.runtime.open import runtime_of

QUANTIZATION = ("_scale", "_zero_point")
"""Suffixes of the names of scales and zero points, in files of ONNX Runtime and of chirplet."""


def count_parameters(folder: Path) -> dict[str, int]:
    """Weights of the model in `folder`: `params_total`, `params_nonzero`, and `params_packed`, one per stored number.

    Raises:
        ModelError: the folder has no model.
    """
    total = nonzero = 0
    for values in READERS[runtime_of(folder)](folder):
        total += values.size
        nonzero += int(np.count_nonzero(values))
    return {"params_total": total, "params_nonzero": nonzero, "params_packed": total}


Weights = Iterator[NDArray[Any]]


def _safetensors(folder: Path) -> Weights:
    import torch

    (path,) = folder.glob("model*.safetensors")
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - the handle is no mapping
            if not name.endswith(QUANTIZATION):
                tensor = file.get_tensor(name)
                yield (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _onnx(folder: Path) -> Weights:
    """Weights of an ONNX model. Integer weights are symmetric, so their zero point is 0; int64 tensors are shapes."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load(folder / "model.onnx").graph
    blocks = {node.input[1]: node for node in graph.node if node.op_type == "MatMulNBits"}
    for tensor in graph.initializer:
        if not tensor.name.endswith(QUANTIZATION) and tensor.data_type != onnx.TensorProto.INT64:
            values = numpy_helper.to_array(tensor)
            if tensor.name in blocks:
                attributes = {attribute.name: attribute for attribute in blocks[tensor.name].attribute}
                values = _unpacked(values, *(helper.get_attribute_value(attributes[name]) for name in ("K", "bits")))
            yield values


def _unpacked(codes: NDArray[np.uint8], columns: int, bits: int) -> NDArray[np.int16]:
    """Weights, shape (rows, columns), of unsigned codes packed in bytes, shape (rows, blocks, bytes)."""
    if bits == 4:
        codes = np.stack([codes & 0xF, codes >> 4], axis=-1)
    weights: NDArray[np.int16] = codes.reshape(len(codes), -1)[:, :columns].astype(np.int16) - 2 ** (bits - 1)
    return weights


def _openvino(folder: Path) -> Weights:
    """Constants of an OpenVINO model, except scales, zero points and indices."""
    from chirplet.runtime.openvino import openvino_core

    for operation in openvino_core().read_model(folder / "openvino_model.xml").get_ops():
        if operation.get_type_name() != "Constant" or operation.get_element_type().to_string() in {"i64", "i32"}:
            continue
        users = [target.get_node() for output in operation.outputs() for target in output.get_target_inputs()]
        if not all(_only_scales(user) for user in users):
            yield operation.get_data()


def _only_scales(operation: Any) -> bool:
    """Whether an operation uses its constant as a scale or zero point."""
    if operation.get_type_name() == "FakeQuantize":
        return True
    sources = [value.get_source_output().get_node() for value in operation.inputs()]
    converts = [source for source in sources if source.get_type_name() in {"Convert", "Subtract"}]
    return operation.get_type_name() in {"Multiply", "Subtract"} and any(
        _is_integer(convert.input(0).get_source_output().get_node()) for convert in converts
    )


def _is_integer(operation: Any) -> bool:
    if operation.get_type_name() == "Convert":
        operation = operation.input(0).get_source_output().get_node()
    kind = operation.get_output_element_type(0).to_string()
    return operation.get_type_name() == "Constant" and kind in {"i8", "u8", "i4", "u4"}


READERS: dict[RuntimeName, Callable[[Path], Weights]] = {
    "pytorch": _safetensors,
    "pytorch_int8": _safetensors,
    "onnxruntime": _onnx,
    "openvino": _openvino,
}
