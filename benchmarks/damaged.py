"""Deliberately damaged models and kernels, and whether a probe detects them; used by `benchmarks/machine.py`."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, Figures, figure

from chirplet.artifact.artifact import PROBE
from chirplet.runtime import open as opening
from chirplet.runtime.open import open_runtime
from chirplet.system.error import ModelError
from chirplet.system.hardware import cpu_cores


def run(*overrides: str) -> None:
    """Run `run.py`; its output goes to stderr."""
    code = subprocess.run([sys.executable, "run.py", *overrides], cwd=ROOT, stdout=sys.stderr, check=False).returncode
    if code != 0:
        raise SystemExit(f"run.py {' '.join(overrides)}: exit {code}")


def quantized(parent: Path, name: str, folder: Path) -> Path:
    """Quantize the parent without measuring the sensitivity of layers; returns the artifact."""
    plain = ["stage.tolerance=null", "stage.sensitivity_texts=0", "stage.measure_cost=false"]
    run("stage=quantize", f"artifact={parent}", f"quantizer={name}", *plain, f"hydra.run.dir={folder}")
    return folder / "artifact"


def negated(model: Any) -> None:
    """Negate the classification head."""
    model.classifier.weight.neg_()


def swapped(model: Any) -> None:
    """Swap the rows of two labels in the head."""
    model.classifier.weight[[1, 3]] = model.classifier.weight[[3, 1]]


def damaged(model: Any) -> None:
    """Shift the second feed-forward matrix of one layer by one element."""
    weight = model.base_model.encoder.layer[3].output.dense.weight
    weight.copy_(weight.flatten().roll(1).view_as(weight))


DAMAGES: tuple[Callable[[Any], None], ...] = (negated, swapped, damaged)


def refused(folders: dict[str, Path], parent: Path, scratch: Path) -> Figures:
    """The number of damaged models, in fp32 and from each quantizer, that fail the probe of the undamaged one."""
    import torch

    from chirplet.runtime.pytorch import load_model

    detected = []
    for change in DAMAGES:
        copy = scratch / change.__name__
        shutil.copytree(parent, copy)
        model = load_model(parent)
        with torch.no_grad():
            change(model)
        model.save_pretrained(copy)
        (copy / PROBE).unlink(missing_ok=True)  # otherwise the model could not be quantized
        wrong = {"fp32": copy} | {
            name: quantized(copy, name, scratch / f"{change.__name__}_{name}") for name in folders
        }
        for name, folder in wrong.items():
            if (folders.get(name, parent) / PROBE).is_file():  # an older teacher has none
                shutil.copy(folders.get(name, parent) / PROBE, folder)
            try:
                open_runtime(folder, accelerator="cpu", threads=1, precision="auto")
            except ModelError:
                detected.append(True)
            else:
                detected.append(False)
                sys.stderr.write(f"{change.__name__}, {name}: passed\n")
    return [figure(f"damaged models refused, of {len(detected)}", sum(detected), "models", at_least=len(detected))]


def faults(folder: Path) -> Figures:
    """Whether two simulated faults of OpenVINO with AMX are detected and avoided.

    (A) Streams return random logits in the hundreds. (B) bf16 is wrong for batches whose length equals the head size.
    """
    from chirplet.runtime.openvino import OpenVinoRuntime

    openvino: Any = importlib.import_module("chirplet.runtime.openvino")
    alone, together, has_bf16 = OpenVinoRuntime.alone, OpenVinoRuntime.together, openvino.cpu_has_bf16
    draws = np.random.default_rng(0)

    def streams(self: Any) -> Any:
        infer = alone(self)
        return lambda feed: infer(feed) + draws.normal(scale=300, size=(len(feed["input_ids"]), 1)).astype(np.float32)

    def one_length(self: Any, feed: Any) -> Any:
        wrong = self.settings["INFERENCE_PRECISION_HINT"] == "bf16" and feed["input_ids"].shape[1] == 32
        return together(self, feed) + np.float32(4.5 * wrong)

    try:
        OpenVinoRuntime.alone = streams  # type: ignore[method-assign]
        a = opened(folder).computes_parts
        OpenVinoRuntime.alone = alone  # type: ignore[method-assign]
        OpenVinoRuntime.together = one_length  # type: ignore[method-assign]
        openvino.cpu_has_bf16 = lambda: True
        opening._VERIFIED.clear()
        b = opened(folder).precision
    finally:
        OpenVinoRuntime.alone, OpenVinoRuntime.together = alone, together  # type: ignore[method-assign]
        openvino.cpu_has_bf16 = has_bf16
        opening._VERIFIED.clear()
    return [
        figure("fault A: streams are not used", float(not a), "", at_least=1),
        figure("fault B: fp32 is used", float(b == "int8/fp32"), "", at_least=1),
    ]


def opened(folder: Path) -> Any:
    """Open the model on this machine, with more than one thread."""
    return open_runtime(folder, accelerator="cpu", threads=max(2, cpu_cores()), precision="auto")
