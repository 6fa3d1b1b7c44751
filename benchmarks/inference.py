"""Speed, size and accuracy of quantized artifacts compared with PyTorch in fp32, from saved folders in new processes.

`python benchmarks/inference.py --data DIR --teacher ARTIFACT` quantizes a model fine-tuned on the two Corona CSVs in
DIR (without `--teacher` it fine-tunes one first, in 25 minutes; without `--data` it uses the default texts) and times
all results interleaved on the test texts. `--quick` skips the sensitivity of layers, times one round and labels 5,000
texts instead of 100,000.

`--family TYPE` compares int8 with fp32 for a model of 12 layers, 384 wide, of another `model_type` of transformers. Its
weights are random and tuned on the default texts for a few minutes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from family_inference import of_family
from measuring import ROOT, Figures, figure

from chirplet.artifact.artifact import Artifact
from chirplet.cli.binding import parse
from chirplet.data.base import Corpus, Split
from chirplet.data.batching.tokens import Tokens, tokenize
from chirplet.evaluation.cost import Timed, Timing, count_bytes, time_interleaved
from chirplet.evaluation.isolated_process import BATCH_SIZE, logits_of
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system.hardware import cpu_cores, cpu_name

QUANTIZERS = ("onnx_int8", "openvino_int8", "openvino_int8_weights", "int4_weights")
EVALUATED: tuple[Split, ...] = ("val", "test")
ACCEPTABLE = 0.3
"""Acceptable drop of accuracy in percentage points."""
TUNED = "experiment=corona_minilm"
COLD = "import sys, chirplet; chirplet.load(sys.argv[1])(['what a lovely day'])"


def run(*overrides: str) -> tuple[str, float]:
    """Run `run.py`; returns its standard output and its peak memory in MB."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, "run.py", *overrides], cwd=ROOT, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        text = output.read()
    sys.stderr.write(text)
    if status != 0:
        raise SystemExit(f"run.py {' '.join(overrides)} failed")
    return text, usage.ru_maxrss / 1000


def cold_seconds(folder: Path, rounds: int) -> float:
    """Seconds from the command to the first label, median of `rounds` processes."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", COLD, str(folder)], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def labelling(folder: Path, texts: list[str], count: int, scratch: Path) -> tuple[float, float]:
    """Texts per second of `stage=predict` on `count` texts, and its peak memory in MB."""
    path = scratch / f"{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": texts[i % len(texts)]}) + "\n" for i in range(count))
    files = (f"input={path}", f"output={path.with_suffix('.out.jsonl')}", f"hydra.run.dir={scratch}/predict{count}")
    text, memory = run("stage=predict", f"artifact={folder}", f"stage.batch_size={BATCH_SIZE}", *files)
    rate = next(line for line in text.splitlines() if line.startswith("labeled")).rpartition("(")[2]
    return float(rate.split()[0].replace(",", "")), memory


def fp32_accuracy(parent: Artifact, data: list[str]) -> dict[Split, float]:
    """Accuracy of the saved parent in fp32 on val and test; its record may have that of bf16."""
    corpus, record = corpus_of(data), parent.record
    tokenizer, pad_id = open_tokenizer(parent.folder, record.max_length)
    tokens: dict[str, Tokens] = {
        split: tokenize(corpus.split(split).text, tokenizer, record.cleaning, record.max_length) for split in EVALUATED
    }
    logits = logits_of(parent.folder, tokens, pad_id, BATCH_SIZE, cpu_cores(), "stored")
    return {split: float((logits[split].argmax(axis=1) == corpus.split(split).label).mean()) for split in EVALUATED}


def compared(
    name: str, timing: Timing, fp32: Timing, accuracy: dict[Split, float], folder: Path, parent: Artifact
) -> Figures:
    """The figures of one quantizer compared with the parent in fp32, whose `accuracy` is given.

    `best` selects by the drop on val; the drop on test is reported.
    """
    metrics = Artifact.open(folder).record.metrics
    drop = {split: 100 * (accuracy[split] - metrics[split]["accuracy"]) for split in EVALUATED}
    share = count_bytes(folder)["bytes_on_disk"] / count_bytes(parent.folder)["bytes_on_disk"]
    default = name == "onnx_int8"
    return [
        figure(f"{name}: texts/s", timing["texts_per_s"] / fp32["texts_per_s"], "times PyTorch fp32's",
               at_least=4.5 if default else None),
        figure(f"{name}: batch-1 p50", timing["latency_ms"]["p50"] / fp32["latency_ms"]["p50"], "times PyTorch fp32's"),
        figure(f"{name}: drop of val accuracy", drop["val"], "points"),
        figure(f"{name}: drop of test accuracy", drop["test"], "points", at_most=ACCEPTABLE),
        figure(f"{name}: bytes", share, "of fp32's", at_most=0.26 if default else None),
    ]  # fmt: skip


def best(figures: Figures) -> Figures:
    """The highest speed and the lowest latency among the quantizers with an acceptable drop on val.

    If there is none, the figures miss their goals.
    """
    values = {entry["name"]: entry["value"] for entry in figures}
    acceptable = [name for name in QUANTIZERS if values[f"{name}: drop of val accuracy"] <= ACCEPTABLE]
    unit = "times PyTorch fp32's"
    if not acceptable:
        return [
            figure("best (none is acceptable): texts/s", 0, unit, at_least=6),
            figure("best (none is acceptable): batch-1 p50", 1, unit, at_most=1 / 6),
        ]
    fastest = max(acceptable, key=lambda name: values[f"{name}: texts/s"])
    lowest = min(acceptable, key=lambda name: values[f"{name}: batch-1 p50"])
    return [
        figure(f"best ({fastest}): texts/s", values[f"{fastest}: texts/s"], unit, at_least=6),
        figure(f"best ({fastest}): drop of test accuracy", values[f"{fastest}: drop of test accuracy"], "points",
               at_most=ACCEPTABLE),
        figure(f"best ({lowest}): batch-1 p50", values[f"{lowest}: batch-1 p50"], unit, at_most=1 / 6),
    ]  # fmt: skip


def main() -> None:
    """Quantize, measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--teacher", type=Path, help="an artifact fine-tuned on those texts")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--family", metavar="TYPE", help="a model_type of transformers")
    arguments = parser.parse_args()
    data = [] if arguments.data is None else ["data=corona_nlp", f"data.dir={arguments.data.resolve()}"]
    if arguments.family:
        texts, rounds = corpus_of(data).test.text, 1 if arguments.quick else 5
        compared_family, made = of_family(arguments.family, data, texts, run, rounds)
        about = made | {"cpu": cpu_name(), "quick": arguments.quick}
        print(json.dumps({"figures": compared_family, "context": about}))
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        parent_folder = arguments.teacher
        if parent_folder is None:
            run(
                "stage=finetune", *data, *([] if arguments.data is None else [TUNED]), f"hydra.run.dir={scratch}/parent"
            )
            parent_folder = scratch / "parent" / "artifact"
        parent = Artifact.open(parent_folder.resolve())
        data += [f"data.val_fraction={parent.record.config['data']['val_fraction']}"]
        quick = ["stage.sensitivity_texts=0", "stage.tolerance=null"] if arguments.quick else []
        folders = {name: scratch / name / "artifact" for name in QUANTIZERS}
        for name, output in folders.items():
            options = ["stage=quantize", f"artifact={parent.folder}", f"quantizer={name}", "stage.measure_cost=false"]
            run(*data, *options, *quick, f"hydra.run.dir={output.parent}")
        texts = corpus_of(data).test.text
        record = parent.record
        tokenizer, pad_id = open_tokenizer(parent.folder, record.max_length)
        tokens = tokenize(texts, tokenizer, record.cleaning, record.max_length)
        rounds = 1 if arguments.quick else 5
        models = [Timed(folder, tokens, pad_id) for folder in (parent.folder, *folders.values())]
        fp32, *timings = time_interleaved(models, cpu_cores(), rounds)
        accuracy = fp32_accuracy(parent, data)
        figures: Figures = []
        for (name, output), timing in zip(folders.items(), timings, strict=True):
            figures += compared(name, timing, fp32, accuracy, output, parent)
        figures += best(figures)
        for name in ("onnx_int8", "openvino_int8"):
            seconds = cold_seconds(folders[name], rounds)
            figures.append(figure(f"{name}: cold process to first label", seconds, "s", at_most=1.5))
        figures += labeled(folders["onnx_int8"], texts, timings[0]["texts_per_s"], arguments.quick, scratch)
        excluded = {
            name: len(Artifact.open(output).record.training["excluded_layers"]) for name, output in folders.items()
        }
    context: dict[str, Any] = {
        "cpu": cpu_name(),
        "timings": dict(zip(["fp32", *folders], [fp32, *timings], strict=True)),
        "excluded_layers": excluded,
        "fp32_accuracy": accuracy,
        "versions": record.versions,
        "data": record.data.source,
        "seeds": [record.seed],
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


def labeled(folder: Path, texts: list[str], runtime_rate: float, quick: bool, scratch: Path) -> Figures:
    """The speed of `stage=predict` relative to the runtime's texts per second, and the growth of its memory."""
    count = 5_000 if quick else 100_000
    _, before = labelling(folder, texts, count // 5, scratch)
    rate, memory = labelling(folder, texts, count, scratch)
    return [
        figure(f"stage=predict, {count:,} texts", rate / runtime_rate, "of the runtime's texts/s", at_least=0.9),
        figure(f"stage=predict, {count:,} texts: memory", memory / before, f"of {count // 5:,}'s", at_most=1.1),
    ]


def corpus_of(data: list[str]) -> Corpus:
    """The corpus for these overrides."""
    from hydra import compose, initialize_config_dir

    from chirplet.data.preparation.prepare import prepare

    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        experiment = parse(compose("config", overrides=data))
    return prepare(experiment.data, Path(experiment.cache_dir).expanduser())


if __name__ == "__main__":
    main()
