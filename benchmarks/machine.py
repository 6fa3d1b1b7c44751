"""Whether quantized models are correct on this machine, alone and in batches, and the cost of the probe.

`python benchmarks/machine.py` fine-tunes MiniLM on the default texts (or takes `--teacher ARTIFACT`, made from them),
quantizes it with `stage.tolerance=null`, and compares labels with those of PyTorch in fp32: with all instruction sets
of this CPU, and with smaller ones, for libraries that have a switch (ONNX Runtime has none). Then it opens damaged
models with the probes of undamaged ones. `--tests` also runs the README's test command and prints its time. `--quick`
takes one quantizer, all instruction sets, and one cold start.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from damaged import faults, opened, quantized, refused, run
from measuring import ROOT, Figures, figure
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact
from chirplet.data.batching.tokens import Tokens, tokenize
from chirplet.evaluation.isolated_process import BATCH_SIZE, logits_of
from chirplet.runtime.probe import cpu_kind, read_probe
from chirplet.runtime.threaded import PartwiseRuntime
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system.error import ArtifactError
from chirplet.system.hardware import cpu_cores, cpu_flags

QUANTIZERS = ("onnx_int8", "openvino_int8", "openvino_int8_weights")
EQUAL_LABELS, PROBE_SHARE = 0.985, 0.1
ISAS: dict[str, dict[str, str]] = {
    "AVX512_CORE_VNNI": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"},
}
"""Values of ONEDNN_MAX_CPU_ISA and OV_CPU_MAX_ISA, with the variables of other libraries."""
COLD = """
import sys, time
import chirplet
from chirplet.runtime import open as opening
spent = []
def timed(function):
    def run(*arguments):
        started = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent.append(time.perf_counter() - started)
    return run
opening.read_probe, opening.Probe.distance = timed(opening.read_probe), timed(opening.Probe.distance)
chirplet.load(sys.argv[1])(["what a lovely day"])
print(sum(spent))
"""
"""Opens a model, labels a text, and prints the seconds spent in the probe, over all attempts."""


@contextmanager
def forced(isa: str | None) -> Iterator[None]:
    """Child processes compute without instructions beyond `isa`."""
    before = dict(os.environ)
    if isa is not None:
        os.environ.update(ISAS[isa] | dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"), isa))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Examples:
    """The test texts as tokens of an artifact, and the labels that a saved model predicts."""

    def __init__(self, parent: Artifact) -> None:
        from inference import corpus_of

        record = parent.record
        tokenizer, self.pad_id = open_tokenizer(parent.folder, record.max_length)
        texts = corpus_of([]).test.text
        self.tokens: Tokens = tokenize(texts, tokenizer, record.cleaning, record.max_length)

    def labels(self, folder: Path, batch_size: int, threads: int, precision: Any = "auto") -> NDArray[np.int64]:
        """Labels in the order of the texts, computed in a new process."""
        logits = logits_of(folder, {"test": self.tokens}, self.pad_id, batch_size, threads, precision)["test"]
        labels: NDArray[np.int64] = logits.argmax(axis=1)
        return labels


def matching(name: str, folder: Path, parent: Path, examples: Examples, isa: str | None) -> Figures:
    """Labels of one model with one instruction set, compared with fp32 and with each other."""
    cpu = "this CPU" if isa is None else isa
    several = max(2, cpu_cores())
    with forced(isa):
        fp32 = examples.labels(parent, BATCH_SIZE, several, "32-true")
        batched = examples.labels(folder, BATCH_SIZE, several)
        others = [examples.labels(folder, size, threads) for size, threads in ((BATCH_SIZE, 1), (1, 1), (1, several))]
    same = min(float((other == batched).mean()) for other in others)
    return [
        figure(f"{name}, {cpu}: labels equal to fp32's", float((batched == fp32).mean()), "of the test texts",
               at_least=EQUAL_LABELS),
        figure(f"{name}, {cpu}: labels equal alone and in batches, by one thread and by {several}", same,
               "of the test texts", at_least=1),
    ]  # fmt: skip


def moved(name: str, folder: Path, examples: Examples, isa: str) -> Figures:
    """Labels of a model made with all instruction sets of this CPU and opened with fewer."""
    here = examples.labels(folder, BATCH_SIZE, max(2, cpu_cores()))
    with forced(isa):
        try:
            there = examples.labels(folder, BATCH_SIZE, max(2, cpu_cores()))
        except ArtifactError as error:  # for example 8-bit onnx_int8 without VNNI
            sys.stderr.write(f"{name} made here, opened with {isa}: {error}\n")
            return [figure(f"{name} made on this CPU, opened with {isa}: refused", 1, "models")]
    return [figure(f"{name} made on this CPU, opened with {isa}: labels equal", float((here == there).mean()),
                   "of the test texts", at_least=EQUAL_LABELS)]  # fmt: skip


def opening(name: str, folder: Path, rounds: int) -> Figures:
    """The time of the probe in a cold start, median of `rounds`."""
    probes, shares = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", COLD, str(folder)], check=True, capture_output=True, text=True)
        probes.append(float(done.stdout))
        shares.append(probes[-1] / (time.perf_counter() - started))
    return [
        figure(f"{name}: probe at opening", 1000 * statistics.median(probes), "ms"),
        figure(f"{name}: probe at opening", statistics.median(shares), "of a cold start", at_most=PROBE_SHARE),
    ]


def suite() -> Figures:
    """The README's test command in this environment."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pytest"], cwd=ROOT, stdout=sys.stderr, check=False)
    minutes = (time.perf_counter() - started) / 60
    return [
        figure("test suite", minutes, "min", at_most=8),
        figure("test suite: exit code", done.returncode, "", at_most=0),
    ]


def runtime_settings(folder: Path) -> dict[str, Any]:
    """How a model is computed on this machine."""
    runtime = opened(folder)
    probe = read_probe(folder)
    return {
        "precision": runtime.precision,
        "computes_parts": runtime.computes_parts if isinstance(runtime, PartwiseRuntime) else None,
        "accepted_distance": None if probe is None else probe.accepted,
    }


def main() -> None:
    """Quantize, compare, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, help="an artifact fine-tuned on the default texts")
    parser.add_argument("--tests", action="store_true", help="also run the test suite")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    names = QUANTIZERS[:1] if arguments.quick else QUANTIZERS
    isas = [] if arguments.quick else [isa for isa in ISAS if _restricts(isa)]
    figures: Figures = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        parent = arguments.teacher.resolve() if arguments.teacher else scratch / "parent" / "artifact"
        if arguments.teacher is None:
            run("stage=finetune", "stage.measure_cost=false", f"hydra.run.dir={parent.parent}")
        artifact = Artifact.open(parent)
        examples = Examples(artifact)
        artifacts = {name: quantized(parent, name, scratch / name) for name in names}
        for name in names:
            figures += matching(name, artifacts[name], parent, examples, None)
        for isa in isas:
            for name in names:
                with forced(isa):
                    there = quantized(parent, name, scratch / f"{name}_{isa}")
                figures += matching(name, there, parent, examples, isa)
                figures += moved(name, artifacts[name], examples, isa)
        for name, output in {"fp32": parent, **artifacts}.items():
            figures += opening(name, output, 1 if arguments.quick else 7)
        figures += refused(artifacts, parent, scratch)
        if not arguments.quick:
            figures += faults(artifacts["openvino_int8"])
        settings = {name: runtime_settings(output) for name, output in {"fp32": parent, **artifacts}.items()}
    if arguments.tests:
        figures += suite()
    context = {
        "cpu": cpu_kind(),
        "threads": cpu_cores(),
        "versions": artifact.record.versions,
        "data": artifact.record.data.source,
        "seeds": [artifact.record.seed],
        "settings": settings,
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


def _restricts(isa: str) -> bool:
    """Whether this CPU has instructions beyond `isa`."""
    beyond = {"AVX512_CORE_VNNI": ("avx512_bf16", "amx"), "AVX2": ("avx512", "avx_vnni", "amx")}[isa]
    return any(flag.startswith(beyond) for flag in cpu_flags())


if __name__ == "__main__":
    main()
