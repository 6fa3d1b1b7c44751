"""Which runtime a folder is for, and how it is opened: the fastest way that answers its probe."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chirplet.artifact.artifact import CARD, RECORD
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.runtime.probe import OPENING, Probe, otherwise, read_probe, warn_unverified
from chirplet.system.error import ModelError

logger = logging.getLogger(__name__)

MODEL_FILES: dict[str, RuntimeName] = {
    "model.safetensors": "pytorch",
    "model_int8.safetensors": "pytorch_int8",
    "model.onnx": "onnxruntime",
    "openvino_model.xml": "openvino",
}
"""The file that decides the runtime of a folder."""


Ways = Sequence[Callable[[], Runtime]]
"""What opens a model, in one way each."""


def runtime_of(folder: Path) -> RuntimeName:
    """What the model in `folder` is run by.

    Raises:
        ModelError: there is no model in it, or more than one.
    """
    found = [name for name in MODEL_FILES if (folder / name).is_file()]
    if len(found) != 1:
        there = " and ".join(found) or "none"
        raise ModelError(f"{str(folder)!r} should hold one of {', '.join(MODEL_FILES)}, and holds {there}")
    return MODEL_FILES[found[0]]


def open_runtime(
    folder: Path, *, accelerator: str, threads: int | None, precision: Precision, verify: bool = True
) -> Runtime:
    """The model in `folder`, ready to run, once it has answered its probe: the fastest way that it answers rightly in.

    `threads: None` is what OMP_NUM_THREADS says, or as many as there are CPU cores for this process; with PyTorch it is
    what this process computes with already, if that is not more. `verify: False` asks nothing; an older folder without
    a probe is opened with a warning. A process asks the same files once.

    Raises:
        ModelError: it is damaged, of a runtime that is not installed, or answers its probe otherwise on this machine.
        ConfigError: its runtime cannot do with that accelerator or precision.
    """
    ways = runtime_ways(folder, accelerator=accelerator, threads=threads, precision=precision)
    probe = read_probe(folder) if verify else None
    if probe is None:
        if verify and (folder / RECORD).is_file():  # a model that is being written has neither
            warn_unverified(folder)
        return ways[0]()
    files = [path.stat() for path in sorted(folder.iterdir()) if path.name not in (RECORD, CARD)]
    asked = (folder.resolve(), *((file.st_size, file.st_mtime_ns) for file in files), accelerator, threads, precision)
    if asked in _VERIFIED:
        runtime = ways[_VERIFIED[asked]]()
        runtime.probe = probe
    else:
        _VERIFIED[asked], runtime = _first_right(folder, ways, probe)
    return runtime


def _distance(runtime: Runtime, probe: Probe) -> float:
    try:
        return probe.distance(runtime.logits, OPENING)
    except (RuntimeError, IndexError) as error:  # PyTorch's, for more tokens than there are positions, say
        raise ModelError(
            f"artifact: its model cannot compute its probe ({' '.join(str(error).split())[:200]})"
        ) from error


def check_probe(runtime: Runtime, folder: Path) -> None:
    """See that a model of `folder`, opened already, answers the probe there, if there is one.

    Raises:
        ModelError: it answers otherwise.
    """
    probe = read_probe(folder)
    if probe is not None and (distance := _distance(runtime, probe)) > probe.accepted:
        raise otherwise(folder, probe, distance)


def _first_right(folder: Path, ways: Ways, probe: Probe) -> tuple[int, Runtime]:
    """The first way that can be computed in here and answers the probe rightly, and its number."""
    faults: list[str] = []
    for number, way in enumerate(ways):
        last = number + 1 == len(ways)
        try:
            runtime = way()
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
            return number, runtime
        if last:
            raise otherwise(folder, probe, distance)
        faults.append(f"artifact: {str(folder)!r} computed in {runtime.precision} answers its probe otherwise here")
    raise AssertionError("there is always a way")


_VERIFIED: dict[tuple[Any, ...], int] = {}
"""By what was asked for: the number of the first way that answered rightly."""


def runtime_ways(folder: Path, *, accelerator: str, threads: int | None, precision: Precision) -> Ways:
    """Each way to run the model in `folder`, the fastest first, the one that is least likely to be wrong last.

    Raises:
        ModelError, ConfigError: as `open_runtime`, here or when one is called.
    """
    name = runtime_of(folder)
    if name == "onnxruntime":
        from chirplet.runtime.onnxruntime import OnnxRuntime

        return [partial(OnnxRuntime.open, folder, accelerator, threads, precision)]
    if name == "openvino":
        from chirplet.runtime.openvino import OpenVinoRuntime

        return OpenVinoRuntime.ways(folder, accelerator, threads, precision)
    if name == "pytorch_int8":
        from chirplet.runtime.pytorch_int8 import PyTorchInt8Runtime

        return [partial(PyTorchInt8Runtime.open, folder, accelerator, threads, precision)]
    from chirplet.runtime.pytorch import PyTorchRuntime

    precisions: tuple[Precision, ...] = ("auto", "32-true") if precision == "auto" else (precision,)
    return [partial(PyTorchRuntime.open, folder, accelerator, threads, one) for one in precisions]


def accelerator_for(folder: Path, wanted: str) -> str:
    """`wanted` for a model that PyTorch runs, `cpu` for the one in `folder` that another runtime does.

    Raises:
        ModelError: as `runtime_of`.
    """
    return wanted if runtime_of(folder) == "pytorch" else "cpu"
