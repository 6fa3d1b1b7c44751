"""Whether quantized models are right on this machine, alone and in company, and what it costs to find out.

`python benchmarks/machine.py` fine-tunes MiniLM on the default tweets (or takes `--teacher ARTIFACT`, made from them),
quantizes it with `stage.tolerance=null`, and compares labels with those of PyTorch in fp32: as this CPU computes, and
with smaller instruction sets, where the libraries can be told so (ONNX Runtime cannot: it asks the CPU alone). Then
damaged models are opened with the probes of sound ones. `--tests` runs the README's test command too, and says how long
it took. `--quick` takes one quantizer, the CPU as it is, and one cold start.
"""

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, Figures, figure
from numpy.typing import NDArray

from chirplet.artifact import PROBE, Artifact
from chirplet.data.tokens import Tokens, tokenize
from chirplet.error import ArtifactError, ModelError
from chirplet.hardware import cpu_cores, cpu_flags
from chirplet.metric.fresh import BATCH_SIZE, logits_of
from chirplet.runtime import base
from chirplet.runtime.base import open_runtime
from chirplet.runtime.parts import PartwiseRuntime
from chirplet.runtime.probe import cpu_kind, read_probe
from chirplet.runtime.tokenizer import open_tokenizer

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
from chirplet.runtime import base
spent = []
def timed(function):
    def run(*arguments):
        started = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent.append(time.perf_counter() - started)
    return run
base.read_probe, base.Probe.distance = timed(base.read_probe), timed(base.Probe.distance)
chirplet.load(sys.argv[1])(["what a lovely day"])
print(sum(spent))
"""
"""Opens a model and labels a tweet; the seconds that went into the probe. Of several ways, all that were tried."""


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


def run(*overrides: str) -> None:
    """Run `run.py`; what it prints goes to stderr."""
    code = subprocess.run([sys.executable, "run.py", *overrides], cwd=ROOT, stdout=sys.stderr, check=False).returncode
    if code != 0:
        raise SystemExit(f"run.py {' '.join(overrides)}: exit {code}")


def quantized(parent: Path, name: str, place: Path) -> Path:
    """What the quantizer makes of the parent, no layer asked."""
    plain = ["stage.tolerance=null", "stage.sensitivity_tweets=0", "stage.measure_cost=false"]
    run("stage=quantize", f"artifact={parent}", f"quantizer={name}", *plain, f"hydra.run.dir={place}")
    return place / "artifact"


class Tweets:
    """The test tweets as an artifact reads them, and the labels that a saved model gives them."""

    def __init__(self, parent: Artifact) -> None:
        from inference import corpus_of

        record = parent.record
        tokenizer, self.pad_id = open_tokenizer(parent.folder, record.max_length)
        texts = corpus_of([]).test.text
        self.tokens: Tokens = tokenize(texts, tokenizer, record.cleaning, record.max_length)

    def labels(self, folder: Path, batch_size: int, threads: int, precision: Any = "auto") -> NDArray[np.int64]:
        """From a new process; in the order of the tweets."""
        found = logits_of(folder, {"test": self.tokens}, self.pad_id, batch_size, threads, precision)["test"]
        labels: NDArray[np.int64] = found.argmax(axis=1)
        return labels


def right(name: str, folder: Path, parent: Path, tweets: Tweets, isa: str | None) -> Figures:
    """Labels of one model as one instruction set computes them: like fp32's, and like each other."""
    cpu = "this CPU" if isa is None else isa
    several = max(2, cpu_cores())
    with forced(isa):
        fp32 = tweets.labels(parent, BATCH_SIZE, several, "32-true")
        among = tweets.labels(folder, BATCH_SIZE, several)
        others = [tweets.labels(folder, size, threads) for size, threads in ((BATCH_SIZE, 1), (1, 1), (1, several))]
    same = min(float((other == among).mean()) for other in others)
    return [
        figure(f"{name}, {cpu}: labels equal to fp32's", float((among == fp32).mean()), "of the test tweets",
               at_least=LIKE_FP32),
        figure(f"{name}, {cpu}: labels equal alone and among neighbours, by one thread and by {several}", same,
               "of the test tweets", at_least=1),
    ]  # fmt: skip


def moved(name: str, folder: Path, tweets: Tweets, isa: str) -> Figures:
    """Labels of a model that was made on this CPU as it is, where less of it is used."""
    own = tweets.labels(folder, BATCH_SIZE, max(2, cpu_cores()))
    with forced(isa):
        try:
            there = tweets.labels(folder, BATCH_SIZE, max(2, cpu_cores()))
        except ArtifactError as error:  # as onnx_int8 of 8 bits is, without VNNI
            sys.stderr.write(f"{name} made here, opened with {isa}: {error}\n")
            return [figure(f"{name} made on this CPU, opened with {isa}: refused", 1, "models")]
    return [figure(f"{name} made on this CPU, opened with {isa}: labels equal", float((own == there).mean()),
                   "of the test tweets", at_least=LIKE_FP32)]  # fmt: skip


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


def negated(model: Any) -> None:
    """The head says the opposite."""
    model.classifier.weight.neg_()


def swapped(model: Any) -> None:
    """Two labels have each other's rows."""
    model.classifier.weight[[1, 3]] = model.classifier.weight[[3, 1]]


def damaged(model: Any) -> None:
    """One layer's narrowing matrix, a number further on."""
    weight = model.base_model.encoder.layer[3].output.dense.weight
    weight.copy_(weight.flatten().roll(1).view_as(weight))


DAMAGES: tuple[Callable[[Any], None], ...] = (negated, swapped, damaged)


def refused(folders: dict[str, Path], parent: Path, scratch: Path) -> Figures:
    """How many damaged models, in fp32 and by each quantizer, do not answer the probes of sound ones."""
    import torch

    from chirplet.runtime.pytorch import load_model

    found = []
    for change in DAMAGES:
        copy = scratch / change.__name__
        shutil.copytree(parent, copy)
        model = load_model(parent)
        with torch.no_grad():
            change(model)
        model.save_pretrained(copy)
        (copy / PROBE).unlink(missing_ok=True)  # so that it can be quantized
        wrong = {"fp32": copy} | {
            name: quantized(copy, name, scratch / f"{change.__name__}_{name}") for name in folders
        }
        for name, folder in wrong.items():
            if (folders.get(name, parent) / PROBE).is_file():  # an older teacher has none
                shutil.copy(folders.get(name, parent) / PROBE, folder)
            try:
                open_runtime(folder, accelerator="cpu", threads=1, precision="auto")
            except ModelError:
                found.append(True)
            else:
                found.append(False)
                sys.stderr.write(f"{change.__name__}, {name}: passed\n")
    return [figure(f"damaged models refused, of {len(found)}", sum(found), "models", at_least=len(found))]


def faults(folder: Path) -> Figures:
    """Whether OpenVINO's two faults with AMX, brought about here, are found and gone round.

    (A) Streams answer with hundreds, other ones each time. (B) bf16 is wrong for batches as long as a head is wide.
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
        a = _opened(folder).computes_parts
        OpenVinoRuntime.alone = alone  # type: ignore[method-assign]
        OpenVinoRuntime.together = one_length  # type: ignore[method-assign]
        openvino.cpu_has_bf16 = lambda: True
        base._VERIFIED.clear()
        b = _opened(folder).precision
    finally:
        OpenVinoRuntime.alone, OpenVinoRuntime.together = alone, together  # type: ignore[method-assign]
        openvino.cpu_has_bf16 = has_bf16
        base._VERIFIED.clear()
    return [
        figure("fault A: streams are not used", float(not a), "", at_least=1),
        figure("fault B: fp32 is used", float(b == "int8/fp32"), "", at_least=1),
    ]


def _opened(folder: Path) -> Any:
    return open_runtime(folder, accelerator="cpu", threads=max(2, cpu_cores()), precision="auto")


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
    runtime = _opened(folder)
    probe = read_probe(folder)
    return {
        "precision": runtime.precision,
        "computes_parts": runtime.computes_parts if isinstance(runtime, PartwiseRuntime) else None,
        "accepted_distance": None if probe is None else probe.accepted,
    }


def main() -> None:
    """Make, compare, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, help="an artifact tuned on the default tweets")
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
        tweets = Tweets(artifact)
        made = {name: quantized(parent, name, scratch / name) for name in names}
        for name in names:
            figures += right(name, made[name], parent, tweets, None)
        for isa in isas:
            for name in names:
                with forced(isa):
                    there = quantized(parent, name, scratch / f"{name}_{isa}")
                figures += right(name, there, parent, tweets, isa)
                figures += moved(name, made[name], tweets, isa)
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
