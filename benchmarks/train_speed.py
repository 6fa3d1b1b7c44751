"""How fast training is: `transformers.Trainer`, chirplet, and the matrix products alone, on the same texts.

`python benchmarks/train_speed.py` trains the bundled MiniLM on the default texts, `--data DIR` on the two Corona CSVs
in DIR, in batches of 32, each of these interleaved in a process of its own:

    trainer        transformers.Trainer as it is by default
    tuned trainer  transformers.Trainer with bf16, fused AdamW and batches grouped by length
    chirplet       stage=finetune
    floor          the matrix products of chirplet's batches alone: of the whole model, and of what chirplet computes

Then the tuned trainer and chirplet each train for a fixed number of steps with three seeds, and are compared on
validation. `--ablate` measures what each of chirplet's settings for speed is worth, `--scale` how cost grows with the
number and the length of texts. `--quick` takes a few steps of everything.
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

from measuring import Figures, figure, matrix_product_rate
from training_ways import BATCH_SIZE, ROOT, composed, prepared

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


def measured(way: str, overrides: list[str], steps: int, seed: int = 1, evaluated: bool = False) -> dict[str, Any]:
    """What one way does in a process of its own."""
    order = json.dumps({"way": way, "overrides": overrides, "steps": steps, "seed": seed, "judged": evaluated})
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "training_ways.py"), order],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{order}: exit {done.returncode}\n{done.stderr[-4000:]}")
    account: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return account


def compared(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """All ways interleaved; medians of the rounds."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in COMPARED}
    for _ in range(rounds):
        for way, accounts in found.items():
            accounts.append(measured(way, overrides, steps))
    speed = {way: statistics.median(one["texts_per_s"] for one in found[way]) for way in COMPARED if way != "floor"}
    bound = {name: statistics.median(one[name] for one in found["floor"]) for name in ("whole", "own")}
    own = speed["chirplet"]
    figures = [
        figure("trainer", speed["trainer"], "texts/s"),
        figure("tuned trainer", speed["tuned trainer"], "texts/s"),
        figure("chirplet", own, "texts/s"),
        figure("floor, the whole model's products", bound["whole"], "texts/s"),
        figure("floor, chirplet's own products", bound["own"], "texts/s"),
        figure("chirplet / trainer", own / speed["trainer"], "ratio", at_least=7.0),
        figure("chirplet / tuned trainer", own / speed["tuned trainer"], "ratio", at_least=2.0),
        figure("chirplet / floor, the whole model's products", own / bound["whole"], "share", at_least=0.7),
        figure("chirplet / floor, chirplet's own products", own / bound["own"], "share", at_least=0.7),
        *(
            figure(f"peak memory, {way}", statistics.median(one["peak_mb"] for one in found[way]), "MB")
            for way in speed
        ),
    ]
    return figures, {"rounds": found, "steps": steps}


def evaluated(overrides: list[str], steps: int, seeds: list[int]) -> tuple[Figures, dict[str, Any]]:
    """Validation accuracy after a fixed number of steps, chirplet's beside the tuned trainer's."""
    ways = ("tuned trainer", "chirplet")
    found: dict[str, list[float]] = {way: [] for way in ways}
    for seed in seeds:
        for way in ways:
            found[way].append(measured(way, overrides, steps, seed, evaluated=True)["val_accuracy"])
    figures = [
        figure(f"validation accuracy after {steps} steps, {way}", statistics.fmean(found[way]), "share") for way in ways
    ]
    gain = [own - theirs for theirs, own in zip(*found.values(), strict=True)]
    noise = max(statistics.stdev(scores) for scores in found.values()) if len(seeds) > 1 else 0.0
    beyond = statistics.fmean(gain)
    figures.append(figure("chirplet beyond the tuned trainer, mean over seeds", beyond, "share", at_least=-noise))
    return figures, {"val_accuracy": found, "gain": gain, "seeds": seeds}


def ablated(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """chirplet with one setting changed at a time, each beside chirplet as it is, which goes first in every other turn.

    What counts is tokens without padding: some settings make other batches, whose texts are longer or shorter.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ABLATIONS}
    for turn in range(rounds):
        for place, (name, changed) in enumerate(ABLATIONS.items()):
            pair = [*overrides, *changed], overrides
            first = (turn + place) % 2
            speeds = {which: measured("chirplet", pair[which], steps)["tokens_per_s"] for which in (first, 1 - first)}
            found[name].append((speeds[0], speeds[1]))
    ratios = {name: statistics.median(own / usual for own, usual in pairs) for name, pairs in found.items()}
    figures = [figure(name, ratio, "of the tokens/s as it is") for name, ratio in ratios.items()]
    usual = [usual for pairs in found.values() for _, usual in pairs]
    figures.append(figure("as it is", statistics.median(usual), "tokens/s"))
    figures.append(figure("as it is, the slowest time", min(usual) / max(usual), "of the fastest"))
    return figures, {"tokens_per_s": found, "changed": ABLATIONS, "steps": steps}


def started(overrides: list[str]) -> tuple[Figures, dict[str, Any]]:
    """Seconds until there are tokens, without and with a cache, and until a command has trained one step."""
    with tempfile.TemporaryDirectory() as folder:
        cached = [*overrides, f"cache_dir={folder}"]
        if not overrides:
            # The default texts are fetched already; what is made of them is not there.
            fetched = Path(os.environ.get("CHIRPLET_CACHE", "~/.cache/chirplet")).expanduser() / "vader_tweets"
            shutil.copytree(fetched, Path(folder) / "vader_tweets")
        first, again = (measured("tokens", cached, 0) for _ in range(2))
        short = ["stage=finetune", "trainer.max_steps=1", "stage.final=true", "stage.measure_cost=false", "logger=none"]
        short += ["stage.evaluate_train=false", "stage.evaluate_test=false"]
        for place in range(2):  # the first one fills the cache
            seconds = first_step_s([*cached, *short, f"hydra.run.dir={folder}/run_{place}"])
    figures = [
        figure("texts read, cleaned and tokenised, the first time", first["seconds"], "s", at_most=8.0),
        figure("the same from the cache", again["seconds"], "s", at_most=0.5),
        figure("from the command to the end of the first training step, with a warm cache", seconds, "s", at_most=8.0),
    ]
    return figures, {"texts": first["texts"]}


def first_step_s(overrides: list[str]) -> float:
    """Seconds from the command to the line that tells of an epoch of one step."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-u", "run.py", *overrides], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [time.perf_counter() - begun for line in process.stdout if line.startswith("epoch")]
    if process.returncode != 0 or not told:
        raise SystemExit(f"{overrides}: exit {process.returncode}")
    return told[0]


def scaled(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """Speed and memory with more texts, and with longer ones, which are texts joined until they are long enough.

    More texts are cut at 32 tokens each: else memory tells how long the longest batch was that happened to be drawn.
    All interleaved, every other turn the other way round.
    """
    corpus = prepared(composed(overrides)).corpus
    texts, labels = corpus.train.text, [corpus.labels[place] for place in corpus.train.label]
    unit = len(texts) // 16
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        joined = [" ".join(texts[place : place + 12]) for place in range(0, len(texts) - 12, 4)]
        long = written(folder / "long.csv", joined, labels)
        more = {times * unit: written(folder / f"{times}.csv", texts[: times * unit], labels) for times in (1, 4, 16)}
        ways = {f"{count} texts": [*own, "model.max_length=32"] for count, own in more.items()}
        ways |= {f"{length} tokens each": [*long, f"model.max_length={length}"] for length in (32, 64, 128)}
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for turn in range(rounds):
            for way in sorted(ways, key=list(ways).index, reverse=bool(turn % 2)):
                found[way].append(measured("chirplet", ways[way], steps))
    speeds = {way: statistics.median(one["texts_per_s"] for one in accounts) for way, accounts in found.items()}
    peaks = {way: statistics.median(one["peak_mb"] for one in accounts) for way, accounts in found.items()}
    few, many = f"{unit} texts", f"{16 * unit} texts"
    figures = [figure(way, speed, "texts/s") for way, speed in speeds.items()]
    figures += [figure(way, statistics.median(one["tokens_per_s"] for one in accounts), "tokens/s")
                for way, accounts in found.items()]  # fmt: skip
    figures += [figure(f"{way}, peak memory", peak, "MB") for way, peak in peaks.items()]
    speed, memory = (values[many] / values[few] for values in (speeds, peaks))
    figures.append(figure("texts/s with 16 times the texts", speed, "of those with one", at_least=0.9))
    figures.append(figure("peak memory with 16 times the texts", memory, "of that with one", at_most=1.1))
    return figures, {"rounds": found, "steps": steps}


def written(path: Path, texts: list[str], labels: list[str]) -> list[str]:
    """Write texts and as many labels as CSV; the overrides that train on it."""
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
    parser.add_argument("--rounds", type=int, default=2, help="turns of each way")
    parser.add_argument("--ablate", action="store_true", help="what each setting for speed is worth, instead")
    parser.add_argument("--scale", action="store_true", help="more texts and longer ones, instead")
    arguments = parser.parse_args()
    from chirplet.system.hardware import cpu_cores, cpu_name

    overrides = []
    if arguments.data is not None:
        overrides = ["data=corona_nlp", f"data.dir={arguments.data.resolve()}"]
    before = matrix_product_rate()
    rounds = 1 if arguments.quick else arguments.rounds
    if arguments.ablate:
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
