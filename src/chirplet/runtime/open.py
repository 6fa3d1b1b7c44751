"""Choose the runtime of a folder and open it with the fastest settings that reproduce its probe."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chirplet.artifact.artifact import CARD, RECORD
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.runtime.probe import OPENING, Probe, not_reproduced, read_probe, warn_unverified
from chirplet.system.error import ModelError
from chirplet.system.optional_dependency import check_package, install, needs

logger = logging.getLogger(__name__)

MODEL_FILES: dict[str, RuntimeName] = {
    "model.safetensors": "pytorch",
    "model_int8.safetensors": "pytorch_int8",
    "model.onnx": "onnxruntime",
    "openvino_model.xml": "openvino",
}
"""The file of a model to its runtime."""

PACKAGES: dict[RuntimeName, tuple[str, str]] = {
    "pytorch": ("torch", install("train")),
    "pytorch_int8": ("torch", install("train")),
    "onnxruntime": ("onnxruntime", "pip install onnxruntime"),
    "openvino": ("openvino", install("openvino")),
}
"""What each runtime needs, and the command that installs it."""

Openers = Sequence[Callable[[], Runtime]]
"""Functions that open one model with different settings."""


def runtime_of(folder: Path) -> RuntimeName:
    """The runtime of the model in `folder`.

    Raises:
        ModelError: the folder has no model, or more than one.
    """
    present = [name for name in MODEL_FILES if (folder / name).is_file()]
    if len(present) != 1:
        got = " and ".join(present) or "none"
        raise ModelError(f"{str(folder)!r} should contain one of {', '.join(MODEL_FILES)}, got {got}")
    return MODEL_FILES[present[0]]


def check_runtime(folder: Path, key: str) -> RuntimeName:
    """Check that the runtime of the model in `folder`, which `key` names, is installed, without importing it.

    Returns:
        The runtime.

    Raises:
        ModelError: see `runtime_of`.
        DependencyError: it is not installed.
    """
    name = runtime_of(folder)
    package, remedy = PACKAGES[name]
    check_package(package, f"{key}: {str(folder)!r}", remedy)
    return name


def open_runtime(
    folder: Path,
    *,
    accelerator: str,
    threads: int | None,
    precision: Precision,
    verify: bool = True,
    shared_cores: bool = False,
) -> Runtime:
    """Open the model in `folder` with the fastest settings that reproduce its probe.

    A process verifies the same files once. A folder of an older version without a probe is opened with a warning.

    Args:
        folder: folder of the model.
        accelerator: auto, cpu, gpu or mps. ONNX Runtime takes a GPU only if it is asked to, OpenVINO and int8 none.
        threads: number of CPU threads. None is OMP_NUM_THREADS or the number of CPU cores of this process; with PyTorch
            it is the current number of threads, if that is smaller.
        precision: precision of the computation.
        verify: whether to verify the model with its probe.
        shared_cores: whether other threads and processes need the cores between batches, as in a server.

    Raises:
        ModelError: the model is damaged or does not reproduce its probe.
        DependencyError: its runtime is not installed.
        ConfigError: the runtime does not support the accelerator or precision.
    """
    openers = runtime_ways(
        folder, accelerator=accelerator, threads=threads, precision=precision, shared_cores=shared_cores
    )
    probe = read_probe(folder) if verify else None
    if probe is None:
        if verify and (folder / RECORD).is_file():  # a model that is being written has neither record nor probe
            warn_unverified(folder)
        return openers[0]()
    files = [path.stat() for path in sorted(folder.iterdir()) if path.name not in (RECORD, CARD)]
    key = (
        folder.resolve(),
        *((file.st_size, file.st_mtime_ns) for file in files),
        accelerator,
        threads,
        precision,
        shared_cores,
    )
    if key in _VERIFIED:
        runtime = openers[_VERIFIED[key]]()
        runtime.probe = probe
    else:
        _VERIFIED[key], runtime = _first_verified(folder, openers, probe)
    return runtime


def _distance(runtime: Runtime, probe: Probe) -> float:
    try:
        return probe.distance(runtime.logits, OPENING)
    except (RuntimeError, IndexError) as error:  # PyTorch raises these, for example for too many tokens
        raise ModelError(
            f"artifact: its model cannot compute its probe ({' '.join(str(error).split())[:200]})"
        ) from error


def check_probe(runtime: Runtime, folder: Path) -> None:
    """Verify the opened model `runtime` of `folder` with the folder's probe, if it has one.

    Raises:
        ModelError: the model does not reproduce the probe.
    """
    probe = read_probe(folder)
    if probe is not None and (distance := _distance(runtime, probe)) > probe.accepted:
        raise not_reproduced(folder, probe, distance)


def _first_verified(folder: Path, openers: Openers, probe: Probe) -> tuple[int, Runtime]:
    """The index of the first opener whose runtime works here and reproduces the probe, and that runtime."""
    faults: list[str] = []
    for index, opener in enumerate(openers):
        last = index + 1 == len(openers)
        try:
            runtime = opener()
            distance = _distance(runtime, probe)
        except ModelError as error:
            if last:
                raise
            faults.append(str(error))
            continue
        runtime.probe = probe
        if distance <= probe.accepted:
            for fault in faults:
                logger.warning("%s; it is computed in %s instead", fault, runtime.precision)
            return index, runtime
        if last:
            raise not_reproduced(folder, probe, distance)
        faults.append(f"artifact: {str(folder)!r} computed in {runtime.precision} does not reproduce its probe here")
    raise AssertionError("there is at least one opener")


_VERIFIED: dict[tuple[Any, ...], int] = {}
"""The index of the first verified opener, by the state of the files and the arguments of `open_runtime`."""


def runtime_ways(
    folder: Path, *, accelerator: str, threads: int | None, precision: Precision, shared_cores: bool = False
) -> Openers:
    """Functions that open the model in `folder`, from the fastest settings to the most reliable ones.

    Raises:
        ModelError, DependencyError, ConfigError: see `open_runtime`; raised here or when an opener is called.
    """
    name = runtime_of(folder)
    if name == "onnxruntime":
        from chirplet.runtime.onnxruntime import OnnxRuntime

        return [partial(OnnxRuntime.open, folder, accelerator, threads, precision, shared_cores)]
    if name == "openvino":
        from chirplet.runtime.openvino import OpenVinoRuntime

        return OpenVinoRuntime.ways(folder, accelerator, threads, precision)
    with needs("artifact: it runs in PyTorch: torch", install("train")):
        from chirplet.runtime.pytorch import PyTorchRuntime
        from chirplet.runtime.pytorch_int8 import PyTorchInt8Runtime
    if name == "pytorch_int8":
        return [partial(PyTorchInt8Runtime.open, folder, accelerator, threads, precision)]
    precisions: tuple[Precision, ...] = ("auto", "32-true") if precision == "auto" else (precision,)
    return [partial(PyTorchRuntime.open, folder, accelerator, threads, one) for one in precisions]


def accelerator_for(folder: Path, wanted: str) -> str:
    """`wanted` if the model in `folder` runs in PyTorch, else `cpu`: a run on a GPU also makes models for the CPU.

    Raises:
        ModelError: see `runtime_of`.
    """
    return wanted if runtime_of(folder) == "pytorch" else "cpu"
