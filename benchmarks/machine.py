"""Whether quantized models are right on this machine, alone and in company, and what it costs to find out.

`python benchmarks/machine.py` fine-tunes MiniLM on the default texts (or takes `--teacher ARTIFACT`, made from them),
quantizes it with `stage.tolerance=null`, and compares labels with those of PyTorch in fp32: as this CPU computes, and
with smaller instruction sets, where the libraries have a switch for that (ONNX Runtime has none: it asks the CPU).
Then it opens damaged models with the probes of sound ones. `--tests` runs the README's test command too, and prints how
long it took. `--quick` takes one quantizer, the CPU as it is, and one cold start.
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
LIKE_FP32, PROBE_SHARE = 0.985, 0.1
ISAS: dict[str, dict[str, str]] = {
    "AVX512_CORE_VNNI": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"},
}
"""Values of ONEDNN_MAX_CPU_ISA and OV_CPU_MAX_ISA, and what the other libraries need."""
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
"""Opens a model and labels a text; the seconds that went into the probe. Of several ways, all that were tried."""


@contextmanager
def forced(isa: str | None) -> Iterator[None]:
    """Child processes compute without what is beyond `isa`."""
    before = dict(os.environ)
    if isa is not None:
        os.environ.update(ISAS[isa] | dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"), isa))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Examples:
    """The test texts as an artifact reads them, and the labels that a saved model gives them."""

    def __init__(self, parent: Artifact) -> None:
        from inference import corpus_of

        record = parent.record
        tokenizer, self.pad_id = open_tokenizer(parent.folder, record.max_length)
        texts = corpus_of([]).test.text
        self.tokens: Tokens = tokenize(texts, tokenizer, record.cleaning, record.max_length)

    def labels(self, folder: Path, batch_size: int, threads: int, precision: Any = "auto") -> NDArray[np.int64]:
        """From a new process; in the order of the texts."""
        found = logits_of(folder, {"test": self.tokens}, self.pad_id, batch_size, threads, precision)["test"]
        labels: NDArray[np.int64] = found.argmax(axis=1)
        return labels


def right(name: str, folder: Path, parent: Path, examples: Examples, isa: str | None) -> Figures:
    """Labels of one model as one instruction set computes them: like fp32's, and like each other."""
    cpu = "this CPU" if isa is None else isa
    several = max(2, cpu_cores())
    with forced(isa):
        fp32 = examples.labels(parent, BATCH_SIZE, several, "32-true")
        among = examples.labels(folder, BATCH_SIZE, several)
        others = [examples.labels(folder, size, threads) for size, threads in ((BATCH_SIZE, 1), (1, 1), (1, several))]
    same = min(float((other == among).mean()) for other in others)
    return [
        figure(f"{name}, {cpu}: labels equal to fp32's", float((among == fp32).mean()), "of the test texts",
               at_least=LIKE_FP32),
        figure(f"{name}, {cpu}: labels equal alone and among neighbours, by one thread and by {several}", same,
               "of the test texts", at_least=1),
    ]  # fmt: skip


def moved(name: str, folder: Path, examples: Examples, isa: str) -> Figures:
    """Labels of a model that was made on this CPU as it is, where less of it is used."""
    own = examples.labels(folder, BATCH_SIZE, max(2, cpu_cores()))
    with forced(isa):
        try:
            there = examples.labels(folder, BATCH_SIZE, max(2, cpu_cores()))
        except ArtifactError as error:  # as onnx_int8 of 8 bits is, without VNNI
            sys.stderr.write(f"{name} made here, opened with {isa}: {error}\n")
            return [figure(f"{name} made on this CPU, opened with {isa}: refused", 1, "models")]
    return [figure(f"{name} made on this CPU, opened with {isa}: labels equal", float((own == there).mean()),
                   "of the test texts", at_least=LIKE_FP32)]  # fmt: skip


def opening(name: str, folder: Path, rounds: int) -> Figures:
    """What the probe takes of a cold start, in the median of some."""
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
    """The test command, as the README has it, in this environment."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pytest"], cwd=ROOT, stdout=sys.stderr, check=False)
    minutes = (time.perf_counter() - started) / 60
    return [
        figure("test suite", minutes, "min", at_most=8),
        figure("test suite: exit code", done.returncode, "", at_most=0),
    ]


def way(folder: Path) -> dict[str, Any]:
    """How a model is computed here."""
    runtime = opened(folder)
    probe = read_probe(folder)
    return {
        "precision": runtime.precision,
        "computes_parts": runtime.computes_parts if isinstance(runtime, PartwiseRuntime) else None,
        "accepted_distance": None if probe is None else probe.accepted,
    }


def main() -> None:
    """Make, compare, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, help="an artifact tuned on the default texts")
    parser.add_argument("--tests", action="store_true", help="run the test suite too")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    names = QUANTIZERS[:1] if arguments.quick else QUANTIZERS
    isas = [] if arguments.quick else [isa for isa in ISAS if _takes_away(isa)]
    figures: Figures = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        parent = arguments.teacher.resolve() if arguments.teacher else scratch / "parent" / "artifact"
        if arguments.teacher is None:
            run("stage=finetune", "stage.measure_cost=false", f"hydra.run.dir={parent.parent}")
        artifact = Artifact.open(parent)
        examples = Examples(artifact)
        made = {name: quantized(parent, name, scratch / name) for name in names}
        for name in names:
            figures += right(name, made[name], parent, examples, None)
        for isa in isas:
            for name in names:
                with forced(isa):
                    there = quantized(parent, name, scratch / f"{name}_{isa}")
                figures += right(name, there, parent, examples, isa)
                figures += moved(name, made[name], examples, isa)
        for name, one in {"fp32": parent, **made}.items():
            figures += opening(name, one, 1 if arguments.quick else 7)
        figures += refused(made, parent, scratch)
        if not arguments.quick:
            figures += faults(made["openvino_int8"])
        ways = {name: way(one) for name, one in {"fp32": parent, **made}.items()}
    if arguments.tests:
        figures += suite()
    context = {
        "cpu": cpu_kind(),
        "threads": cpu_cores(),
        "versions": artifact.record.versions,
        "data": artifact.record.data.source,
        "seeds": [artifact.record.seed],
        "ways": ways,
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


def _takes_away(isa: str) -> bool:
    """Whether this CPU has more than the instruction set."""
    beyond = {"AVX512_CORE_VNNI": ("avx512_bf16", "amx"), "AVX2": ("avx512", "avx_vnni", "amx")}[isa]
    return any(flag.startswith(beyond) for flag in cpu_flags())


if __name__ == "__main__":
    main()
