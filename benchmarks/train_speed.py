"""Training speed of `transformers.Trainer`, of chirplet, and of the matrix products alone, on the same texts.

`python benchmarks/train_speed.py` trains the bundled MiniLM on the default texts, `--data DIR` on the two Corona CSVs
in DIR, in batches of 32. Each of these runs in a separate process, interleaved:

    trainer        transformers.Trainer with its defaults
    tuned trainer  transformers.Trainer with bf16, fused AdamW and batches grouped by length
    chirplet       stage=finetune
    floor          only the matrix products of chirplet's batches: of the whole model, and of what chirplet computes

Then the tuned trainer and chirplet train for a fixed number of steps with three seeds, and are compared on validation.
`--family TYPE` compares the tuned trainer and chirplet on a model of 12 layers, 384 wide, of another `model_type` of
transformers, with random weights and the bundled model's tokenizer. `--ablate` measures the effect of each of
chirplet's speed settings, `--scale` the growth of cost with the number and the length of texts. `--quick` takes a few
steps of everything.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from family_checkpoint import write_checkpoint
from measuring import Figures, figure, matrix_product_rate
from training_ways import BATCH_SIZE, ROOT, composed, prepared

from chirplet.model.family import FAMILIES, PostNormFamily

ABLATIONS = {
    "padding computed like tokens": ["trainer.encoder=padded"],
    "the encoder of transformers": ["trainer.encoder=transformers"],
    "all word embeddings moved in every step": ["trainer.rowwise_embeddings=false"],
    "freed memory given back": ["trainer.keep_freed_memory=false"],
    "padded to the longest text": ["trainer.pad_to_multiple_of=1"],
    "padded to multiples of 8": ["trainer.pad_to_multiple_of=8"],
    "padded to multiples of 16": ["trainer.pad_to_multiple_of=16"],
    "pools of 12 batches": ["trainer.pool_batches=12"],
    "pools of 200 batches": ["trainer.pool_batches=200"],
    "one thread": ["trainer.threads=1"],
    "fp32": ["trainer.precision=32-true"],
    "scaled dot product attention": ["model.attention=sdpa"],
    "dropout 0.1 in the encoder": ["model.dropout=0.1"],
    "no clipping": ["trainer.gradient_clip_val=null"],
    "no display": ["~callback.progress"],
    "nothing of all this": [
        "trainer.encoder=transformers",
        "trainer.rowwise_embeddings=false",
        "trainer.keep_freed_memory=false",
        "trainer.pad_to_multiple_of=1",
    ],
}
"""chirplet with one setting changed at a time."""


COMPARED = ("trainer", "tuned trainer", "chirplet", "floor")


def measured(method: str, overrides: list[str], steps: int, seed: int = 1, evaluated: bool = False) -> dict[str, Any]:
    """The results of one method, from a new process."""
    order = json.dumps({"method": method, "overrides": overrides, "steps": steps, "seed": seed, "evaluated": evaluated})
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "training_ways.py"), order],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{order}: exit {done.returncode}\n{done.stderr[-4000:]}")
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def compared(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """All methods, interleaved; the figures are medians of the rounds."""
    collected: dict[str, list[dict[str, Any]]] = {method: [] for method in COMPARED}
    for _ in range(rounds):
        for method, results in collected.items():
            results.append(measured(method, overrides, steps))
    speed = {
        method: statistics.median(one["texts_per_s"] for one in collected[method])
        for method in COMPARED
        if method != "floor"
    }
    bound = {name: statistics.median(one[name] for one in collected["floor"]) for name in ("whole", "own")}
    chirplet = speed["chirplet"]
    figures = [
        figure("trainer", speed["trainer"], "texts/s"),
        figure("tuned trainer", speed["tuned trainer"], "texts/s"),
        figure("chirplet", chirplet, "texts/s"),
        figure("floor, the whole model's products", bound["whole"], "texts/s"),
        figure("floor, chirplet's products", bound["own"], "texts/s"),
        figure("chirplet / trainer", chirplet / speed["trainer"], "ratio", at_least=7.0),
        figure("chirplet / tuned trainer", chirplet / speed["tuned trainer"], "ratio", at_least=2.0),
        figure("chirplet / floor, the whole model's products", chirplet / bound["whole"], "share", at_least=0.7),
        figure("chirplet / floor, chirplet's products", chirplet / bound["own"], "share", at_least=0.7),
        *(
            figure(f"peak memory, {method}", statistics.median(one["peak_mb"] for one in collected[method]), "MB")
            for method in speed
        ),
    ]
    return figures, {"rounds": collected, "steps": steps}


def evaluated(overrides: list[str], steps: int, seeds: list[int]) -> tuple[Figures, dict[str, Any]]:
    """Validation accuracy after a fixed number of steps, compared with the tuned trainer."""
    methods = ("tuned trainer", "chirplet")
    collected: dict[str, list[float]] = {method: [] for method in methods}
    for seed in seeds:
        for method in methods:
            collected[method].append(measured(method, overrides, steps, seed, evaluated=True)["val_accuracy"])
    figures = [
        figure(f"validation accuracy after {steps} steps, {method}", statistics.fmean(collected[method]), "share")
        for method in methods
    ]
    gain = [ours - theirs for theirs, ours in zip(*collected.values(), strict=True)]
    noise = max(statistics.stdev(scores) for scores in collected.values()) if len(seeds) > 1 else 0.0
    mean_gain = statistics.fmean(gain)
    figures.append(
        figure("gain of chirplet over the tuned trainer, mean over seeds", mean_gain, "share", at_least=-noise)
    )
    return figures, {"val_accuracy": collected, "gain": gain, "seeds": seeds}


def of_family(overrides: list[str], model_type: str, steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """The tuned trainer and chirplet on a model of another type, and chirplet on BERT, interleaved."""
    with tempfile.TemporaryDirectory() as folder:
        models = {
            name: ["model=local", f"model.name_or_path={write_checkpoint(Path(folder) / name, name)}", *overrides]
            for name in {model_type, "bert"}
        }
        ways = {
            "tuned trainer": ("tuned trainer", models[model_type]),
            "chirplet": ("chirplet", models[model_type]),
            "chirplet with BERT": ("chirplet", models["bert"]),
        }
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, (method, chosen) in ways.items():
                speeds[way].append(measured(method, chosen, steps)["texts_per_s"])
    goal = 1.5 if isinstance(FAMILIES.get(model_type), PostNormFamily) else 1.0
    figures = [figure(f"{model_type}, {way}", statistics.median(each), "texts/s") for way, each in speeds.items()]
    for over, least in (("tuned trainer", goal), ("chirplet with BERT", None)):
        ratios = [ours / theirs for ours, theirs in zip(speeds["chirplet"], speeds[over], strict=True)]
        figures.append(figure(f"{model_type}, chirplet / {over}", statistics.median(ratios), "ratio", at_least=least))
    return figures, {"rounds": speeds, "steps": steps, "weights": "random"}


def ablated(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """chirplet with one setting changed at a time, compared with the default settings in alternating order.

    Speed is in tokens without padding, since some settings make batches with other lengths.
    """
    collected: dict[str, list[tuple[float, float]]] = {name: [] for name in ABLATIONS}
    for round_number in range(rounds):
        for index, (name, changed) in enumerate(ABLATIONS.items()):
            pair = [*overrides, *changed], overrides
            first = (round_number + index) % 2
            speeds = {which: measured("chirplet", pair[which], steps)["tokens_per_s"] for which in (first, 1 - first)}
            collected[name].append((speeds[0], speeds[1]))
    ratios = {name: statistics.median(changed / usual for changed, usual in pairs) for name, pairs in collected.items()}
    figures = [figure(name, ratio, "of the default's tokens/s") for name, ratio in ratios.items()]
    usual = [usual for pairs in collected.values() for _, usual in pairs]
    figures.append(figure("default settings", statistics.median(usual), "tokens/s"))
    figures.append(figure("default settings, slowest round", min(usual) / max(usual), "of the fastest"))
    return figures, {"tokens_per_s": collected, "changed": ABLATIONS, "steps": steps}


def started(overrides: list[str]) -> tuple[Figures, dict[str, Any]]:
    """Seconds to load tokens, without and with a cache, and to train one step from the command."""
    with tempfile.TemporaryDirectory() as folder:
        cached = [*overrides, f"cache_dir={folder}"]
        if not overrides:
            # The downloaded default texts, without their tokens.
            fetched = Path(os.environ.get("CHIRPLET_CACHE", "~/.cache/chirplet")).expanduser() / "vader_tweets"
            shutil.copytree(fetched, Path(folder) / "vader_tweets")
        first, again = (measured("tokens", cached, 0) for _ in range(2))
        short = ["stage=finetune", "trainer.max_steps=1", "stage.final=true", "stage.measure_cost=false", "logger=none"]
        short += ["stage.evaluate_train=false", "stage.evaluate_test=false"]
        for attempt in range(2):  # the first one fills the cache
            seconds = first_step_s([*cached, *short, f"hydra.run.dir={folder}/run_{attempt}"])
    figures = [
        figure("texts read, cleaned and tokenised, the first time", first["seconds"], "s", at_most=8.0),
        figure("the same from the cache", again["seconds"], "s", at_most=0.5),
        figure("from the command to the end of the first training step, with a warm cache", seconds, "s", at_most=8.0),
    ]
    return figures, {"texts": first["texts"]}


def first_step_s(overrides: list[str]) -> float:
    """Seconds from the command to the line of an epoch of one step."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-u", "run.py", *overrides], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        times = [time.perf_counter() - start for line in process.stdout if line.startswith("epoch")]
    if process.returncode != 0 or not times:
        raise SystemExit(f"{overrides}: exit {process.returncode}")
    return times[0]


def scaled(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """Speed and memory with more texts, and with longer ones, which are joined texts.

    With more texts, each is cut at 32 tokens: otherwise memory depends on the longest batch that happened to be drawn.
    All are interleaved in alternating order.
    """
    corpus = prepared(composed(overrides)).corpus
    texts, labels = corpus.train.text, [corpus.labels[index] for index in corpus.train.label]
    unit = len(texts) // 16
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        joined = [" ".join(texts[index : index + 12]) for index in range(0, len(texts) - 12, 4)]
        long = written(folder / "long.csv", joined, labels)
        more = {times * unit: written(folder / f"{times}.csv", texts[: times * unit], labels) for times in (1, 4, 16)}
        methods = {f"{count} texts": [*source, "model.max_length=32"] for count, source in more.items()}
        methods |= {f"{length} tokens each": [*long, f"model.max_length={length}"] for length in (32, 64, 128)}
        collected: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
        for round_number in range(rounds):
            for method in sorted(methods, key=list(methods).index, reverse=bool(round_number % 2)):
                collected[method].append(measured("chirplet", methods[method], steps))
    speeds = {method: statistics.median(one["texts_per_s"] for one in results) for method, results in collected.items()}
    peaks = {method: statistics.median(one["peak_mb"] for one in results) for method, results in collected.items()}
    few, many = f"{unit} texts", f"{16 * unit} texts"
    figures = [figure(method, speed, "texts/s") for method, speed in speeds.items()]
    figures += [figure(method, statistics.median(one["tokens_per_s"] for one in results), "tokens/s")
                for method, results in collected.items()]  # fmt: skip
    figures += [figure(f"{method}, peak memory", peak, "MB") for method, peak in peaks.items()]
    speed, memory = (values[many] / values[few] for values in (speeds, peaks))
    figures.append(figure("texts/s with 16 times the texts", speed, "relative to one", at_least=0.9))
    figures.append(figure("peak memory with 16 times the texts", memory, "relative to one", at_most=1.1))
    return figures, {"rounds": collected, "steps": steps}


def written(path: Path, texts: list[str], labels: list[str]) -> list[str]:
    """Write texts and labels as CSV; returns the overrides that select it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(texts, labels, strict=False))
    columns = ["data.text_column=text", "data.label_column=label"]
    return ["data=csv", f"data.train={path}", *columns, f"cache_dir={path.parent}/cache"]


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each method")
    parser.add_argument("--family", metavar="TYPE", help="a model_type of transformers")
    parser.add_argument("--ablate", action="store_true", help="measure the effect of each speed setting instead")
    parser.add_argument("--scale", action="store_true", help="measure more and longer texts instead")
    arguments = parser.parse_args()
    from chirplet.system.hardware import cpu_cores, cpu_name

    overrides = []
    if arguments.data is not None:
        overrides = ["data=corona_nlp", f"data.dir={arguments.data.resolve()}"]
    before = matrix_product_rate()
    rounds = 1 if arguments.quick else arguments.rounds
    if arguments.family:
        figures, context = of_family(overrides, arguments.family, 12 if arguments.quick else 60, rounds)
    elif arguments.ablate:
        figures, context = ablated(overrides, 12 if arguments.quick else 30, rounds)
    elif arguments.scale:
        figures, context = scaled(overrides, 12 if arguments.quick else 40, rounds)
    else:
        beginning, size = started(overrides)
        figures, context = compared(overrides, 12 if arguments.quick else 80, rounds)
        accuracy, more = evaluated(overrides, 20 if arguments.quick else 200, [1] if arguments.quick else [1, 2, 3])
        figures, context = beginning + figures + accuracy, size | context | {"accuracy": more}
    context |= {
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        "bf16_gflops": {"before": round(before), "after": round(matrix_product_rate())},
        "data": "vader_tweets" if arguments.data is None else "corona_nlp",
        "batch_size": BATCH_SIZE,
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
