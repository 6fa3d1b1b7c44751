"""Training on a GPU: chirplet, `transformers.Trainer`, and a bare loop of CUDA graphs, on the same texts.

`python benchmarks/gpu.py` takes the default texts, `--data DIR` the two Corona CSVs in DIR, the bundled MiniLM and a
model of BERTweet's size (12 layers, 768 wide, 64,001 words) with random weights. Each row is a process of its own. It
also counts what waits for the device, resumes to the bit, distils, prunes, trains quantization-aware, and searches with
two workers on one GPU. `--quick` runs all of it on any machine in a few steps; without a GPU it calls what would be
captured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from family_checkpoint import write_checkpoint
from gpu_inference import inference_figures
from gpu_ways import TRAINERS, on_gpu
from measuring import ROOT, Figures, figure

BERTWEET = (12, 768, 12, 3072)
WORDS = 64_001
BATCHES = (32, 256)


class Bench:
    """Measurements on the same texts, with one cache."""

    def __init__(self, data: list[str], folder: Path, quick: bool) -> None:
        self.data = data
        self.folder = folder
        self.quick = quick
        self.graphs = [] if on_gpu() else ["trainer.cuda_graphs=true"]
        """Overrides that use graphs also where there is no GPU."""

    def measured(self, way: str, overrides: Sequence[str], skipped: int, steps: int, **more: Any) -> dict[str, Any]:
        """The results of one way."""
        skipped, steps = (2, 3) if self.quick else (skipped, steps)
        if self.quick and way == "trainer" and not on_gpu():
            skipped, steps = 1, 2
        order = {"way": way, "overrides": [*self.data, *overrides], "skipped": skipped, "steps": steps, **more}
        command = [sys.executable, str(ROOT / "benchmarks" / "gpu_ways.py"), json.dumps(order)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{order}: exit {done.returncode}\n{done.stderr[-3000:]}", file=sys.stderr)
            return {"texts_per_s": 0.0, "failed": done.stderr[-300:]}
        results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        print(f"{way} {more or ''} {' '.join(overrides)}: {results}", file=sys.stderr)
        return results

    def run(self, name: str, *overrides: str) -> tuple[float, Path]:
        """Seconds and output folder of a run of `run.py`."""
        output = self.folder / name
        started = time.perf_counter()
        command = [sys.executable, "run.py", f"hydra.run.dir={output}", *self.data, *overrides]
        done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{name}: run.py exited with {done.returncode}")
        return time.perf_counter() - started, output


def training(bench: Bench, model: list[str], name: str, trainers: Sequence[str]) -> tuple[Figures, dict[str, Any]]:
    """The rates of all ways on one model."""
    rows: dict[str, dict[str, Any]] = {}
    for settings in trainers:
        batch = ["stage.batch_size=32"]
        rows[f"Trainer, {settings}"] = bench.measured("trainer", [*model, *batch], 60, 120, settings=settings)
    for size in BATCHES[: 1 if bench.quick else None]:
        batch = [f"stage.batch_size={size}"]
        rows[f"chirplet, batch {size}"] = bench.measured("chirplet", [*model, *batch, *bench.graphs], 300, 600)
        rows[f"bare loop, batch {size}"] = bench.measured("loop", [*model, *batch], 300, 600)
    rows["chirplet without graphs, batch 32"] = bench.measured(
        "chirplet", [*model, "stage.batch_size=32", "trainer.cuda_graphs=false"], 30, 60
    )
    rates = {way: row["texts_per_s"] for way, row in rows.items()}
    figures = [figure(f"{name}, {way}", rate, "texts/s") for way, rate in rates.items()]
    figures += [
        figure(f"{name}, {way}, peak memory", row["peak_mb"], "MB") for way, row in rows.items() if "peak_mb" in row
    ]
    ours, bare = rates["chirplet, batch 32"], rates["bare loop, batch 32"]
    figures.append(figure(f"{name}, chirplet / bare loop", ours / bare, "ratio", at_least=0.9))
    best = max((rates[f"Trainer, {settings}"] for settings in trainers), default=0.0)
    if best:
        figures.append(figure(f"{name}, chirplet / the best Trainer", ours / best, "ratio", at_least=4.0))
    if rates.get("Trainer, defaults"):
        plain = rates["Trainer, defaults"]
        figures.append(figure(f"{name}, chirplet / Trainer's defaults", ours / plain, "ratio", at_least=10.0))
    return figures, {name: rows}


def waiting(bench: Bench) -> Figures:
    """Operations that wait for the device between two logged steps."""
    log = ["trainer.log_every_n_steps=50"]
    waits = bench.measured("waits", [*bench.graphs, *log, "stage.batch_size=32"], 200, 200)
    print(f"waits at {waits.get('first_wait')}", file=sys.stderr)
    return [figure("operations that wait for the device in 200 steps", waits.get("waits", -1), "operations", at_most=0)]


def resumed(bench: Bench) -> Figures:
    """The same run twice, and once interrupted and resumed: the share of the three artifacts that are the same."""
    steps = 12 if bench.quick else 300
    common = ["stage=finetune", "logger=none", "deterministic=true", f"trainer.max_steps={steps}", *bench.graphs]
    common += ["trainer.max_epochs=1000", "stage.final=true", "stage.measure_cost=false", "model.dropout=0.1"]
    ids = []
    for name in ("once", "twice"):
        ids.append(record(bench.run(name, *common)[1])["id"])
    command = [sys.executable, "run.py", f"hydra.run.dir={bench.folder / 'halted'}", *bench.data, *common]
    halted = [*command, "callback.checkpoint.every_minutes=0.0005"]
    with subprocess.Popen(halted, cwd=ROOT, stdout=sys.stderr) as process:
        last = bench.folder / "halted" / "checkpoints" / "last.ckpt"
        while not last.exists() and process.poll() is None:
            time.sleep(0.02)
        process.terminate()
    bench.run("halted", *common, "callback.checkpoint.every_minutes=0.0005", "resume=auto")
    ids.append(record(bench.folder / "halted")["id"])
    return [figure("runs with the first run's weights: again, and resumed", ids.count(ids[0]) - 1, "of 2", at_least=2)]


def record(output: Path) -> dict[str, Any]:
    """The record of a run's artifact."""
    content: dict[str, Any] = json.loads((output / "artifact" / "artifact.json").read_text(encoding="utf-8"))
    return content


def compressed(bench: Bench) -> tuple[Figures, dict[str, Any]]:
    """One distillation, pruning and quantization-aware training of one teacher, and a search of two workers."""
    short = ["logger=none", "stage.evaluate_train=false", "stage.measure_cost=false", *bench.graphs]
    short += ["trainer=debug", "data.val_fraction=0.1"] if bench.quick else ["trainer.max_epochs=2"]
    _, teacher = bench.run("teacher", "stage=finetune", *short)
    folder = teacher / "artifact"
    _, student = bench.run(
        "student", "stage=distill", f"teacher={folder}", "stage.label_only_baseline=false", "distiller=logits", *short
    )
    _, pruned = bench.run("pruned", "stage=prune", f"artifact={folder}", "pruner.schedule=cubic", *short)
    qat = ["logger=none", "stage.evaluate_train=false", "stage.measure_cost=false", *short[-2 if bench.quick else -1 :]]
    _, rounded = bench.run("rounded", "stage=quantize", "quantizer=qat", f"artifact={folder}", *qat)
    search = ["stage=finetune", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"]
    search += ["hydra.sweeper.share_gpus=true", "+hydra.sweeper.params={stage.learning_rate:'interval(1e-5,1e-4)'}"]
    seconds = command_s(bench, ["-m", *search, f"hydra.sweep.dir={bench.folder / 'sweep'}", *short])
    runs = {"teacher": teacher, "student": student, "pruned": pruned, "rounded": rounded}
    trainings = {name: record(output)["training"] for name, output in runs.items()}
    size = 32
    rate = {name: each["steps"] * size / each["seconds"] for name, each in trainings.items() if each.get("steps")}
    figures = [figure(f"{name}, whole training with validation", value, "texts/s") for name, value in rate.items()]
    figures.append(
        figure(
            "distillation with cached logits / fine-tuning", rate["student"] / rate["teacher"], "ratio", at_least=0.9
        )
    )
    figures.append(figure("search of two trials with two workers on one device", seconds, "s"))
    return figures, {"trainings": trainings}


def command_s(bench: Bench, overrides: list[str]) -> float:
    """Seconds of a multirun."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "run.py", *overrides, *bench.data], cwd=ROOT, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{overrides}: exit {done.returncode}")
    return time.perf_counter() - started


def whole(bench: Bench, data: Path) -> Figures:
    """Seconds from the two CSVs to the artifact, without a cache."""
    seconds, output = bench.run(
        "whole", "experiment=corona_minilm", f"data.dir={data}", "logger=none", f"cache_dir={bench.folder / 'empty'}"
    )
    accuracy = record(output)["metrics"]["test"]["accuracy"]
    return [
        figure("experiment=corona_minilm from the CSVs to the artifact", seconds, "s", at_most=45.0),
        figure("its test accuracy", accuracy, "share"),
    ]


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    import torch
    import transformers

    from chirplet.system.hardware import cpu_cores, cpu_name

    if not on_gpu() and not arguments.quick:
        raise SystemExit("gpu.py: torch finds no GPU; --quick runs everything in a few steps without one")
    data = [] if arguments.data is None else ["data=corona_nlp", f"data.dir={arguments.data.resolve()}"]
    figures: Figures = []
    context: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(data, folder, arguments.quick)
        large = write_checkpoint(folder / "large", "roberta", sizes=BERTWEET, words=WORDS)
        large_model = ["model=local", f"model.name_or_path={large}"]
        for model, label, trainers in (
            ([], "MiniLM", list(TRAINERS)[: 2 if arguments.quick else None]),
            (large_model, "12 x 768", [] if arguments.quick else ["defaults", "bf16"]),
        ):
            more, rows = training(bench, model, label, trainers)
            figures, context = figures + more, context | rows
            figures += inference_figures(label, bench.measured("inference", model, 0, 128))
        figures += waiting(bench) + resumed(bench)
        more, rows = compressed(bench)
        figures, context = figures + more, context | rows
        if arguments.data is not None and not arguments.quick:
            figures += whole(bench, arguments.data.resolve())
    context |= {
        "device": torch.cuda.get_device_name() if on_gpu() else "none",
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "data": "vader_tweets" if arguments.data is None else "corona_nlp",
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
