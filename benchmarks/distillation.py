"""Distilled students: accuracy compared with their teacher and with a label-only baseline, and speed.

`python benchmarks/distillation.py --data DIR --teacher ARTIFACT` cuts students of three, two and one layers from a
teacher fine-tuned with `experiment=corona_minilm` (without --teacher it is fine-tuned first, in 23 minutes), distills
each for at most twenty minutes, and trains the label-only baseline of the first student, with seed 42, for as long.
`--part` runs only some of: `three`, `two`, `one`, `vocabulary` (a RoBERTa distilled from a BERT, on `vader_tweets`),
`cost` (the cost of distillation once the teacher's logits are cached). Further overrides go to every run, for example
`cache_dir=DIR` to keep the teacher's logits between parts. `--folder DIR` keeps the runs and their cache, reuses
finished runs and resumes interrupted ones. `--quick` trains only a few steps, so its figures mean nothing.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from measuring import ROOT, Figures, Kept, figure, matrix_product_rate

PARTS = ("three", "two", "one", "vocabulary", "cost")
# Twenty minutes each on two cores with bf16, without the baseline. Students of two layers and one overfit early, so
# they get augmented texts.
RECIPES = {
    "three": ["stage.cut.num_layers=3", "trainer.max_epochs=6"],
    "two": ["stage.cut.num_layers=2", "stage.augmentations_per_text=2", "stage.word_drop=0.2",
            "stage.learning_rate=4e-4", "trainer.max_epochs=4"],
    "one": ["stage.cut.num_layers=1", "stage.augmentations_per_text=3", "stage.word_drop=0.2",
            "stage.learning_rate=5e-4", "trainer.max_epochs=8"],
}  # fmt: skip
WITH_BASELINE = ("three", 42)
"""The student and seed whose label-only baseline is trained."""
LARGEST_DROP = {"three": 0.003, "two": 0.02, "one": None}
"""Goals for the drop of test accuracy, as a fraction."""

COST_STEPS = 400


class Bench:
    """Runs of run.py in one folder, with a separate cache."""

    def __init__(self, folder: Path, overrides: list[str], quick: bool) -> None:
        self.folder = folder
        self.runs = Kept(folder)
        self.overrides = overrides
        self.quick = quick

    def run(self, name: str, *overrides: str) -> Path:
        """Run chirplet; returns its artifact."""
        short = ["trainer=debug"] if self.quick else []
        return self.runs.run(name, *short, *overrides, *self.overrides) / "artifact"


def read(artifact: Path) -> dict[str, Any]:
    """An artifact's record."""
    record: dict[str, Any] = json.loads((artifact / "artifact.json").read_text(encoding="utf-8"))
    return record


def recipe(part: str, seed: int) -> list[str]:
    """The overrides of one student."""
    baseline = [] if (part, seed) == WITH_BASELINE else ["stage.label_only_baseline=false"]
    return [*RECIPES[part], f"seed={seed}", *baseline]


def minutes_of(training: dict[str, Any]) -> float | None:
    """The minutes of one student; None if it was resumed, since the record has only the last session."""
    return None if training["resumed"] else (training["teacher_seconds"] + training["seconds"]) / 60


def students(bench: Bench, part: str, teacher: Path, data: list[str], seeds: range) -> tuple[Figures, dict[str, Any]]:
    """Students of one depth, one per seed, compared with the teacher and the label-only baseline on test."""
    options = ["stage=distill", f"teacher={teacher}", "stage.evaluate_train=false", "stage.measure_cost=false"]
    artifacts = [bench.run(f"{part}_{seed}", *data, *options, *recipe(part, seed)) for seed in seeds]
    records = [read(artifact) for artifact in artifacts]
    teacher_accuracy = read(teacher)["metrics"]["test"]["accuracy"]
    accuracies = [record["metrics"]["test"]["accuracy"] for record in records]
    baselines = [
        record["training"]["label_only_baseline"]["test"]
        for record in records
        if "label_only_baseline" in record["training"]
    ]
    minutes = [minutes_of(record["training"]) for record in records]
    name = f"{part} layer{'' if part == 'one' else 's'}"
    figures = [
        figure(
            f"{name}: test accuracy below the teacher's",
            teacher_accuracy - mean(accuracies),
            "share",
            at_most=LARGEST_DROP[part],
        ),
        figure(f"{name}: test accuracy", mean(accuracies), "share"),
    ]
    measured = [value for value in minutes if value is not None]
    if measured:
        figures.append(figure(f"{name}: logits of the teacher, and training", max(measured), "min", at_most=20))
    context = {
        "teacher": teacher_accuracy,
        "students": accuracies,
        "label_only_baselines": [baseline["accuracy"] for baseline in baselines],
        "differences": [baseline["difference"] for baseline in baselines],
        "spread": stdev(accuracies) if len(accuracies) > 1 else None,
        "minutes": minutes,
        "validation": [record["metrics"]["val"]["accuracy"] for record in records],
        "recipe": RECIPES[part],
        "cpu": records[0]["cpu"]["name"],
        "threads": [record["training"]["threads"] for record in records],
        "versions": records[0]["versions"],
        "sizes": records[0]["data"]["sizes"],
    }
    if baselines:
        low = min(baseline["difference"]["low"] for baseline in baselines)
        figures.append(
            figure(f"{name}: lower end of the gain over its label-only baseline", low, "share", at_least=1e-4)
        )
    if part == "three":
        speeds = texts_per_s([teacher, artifacts[0]], bench, data)
        figures.append(figure("three layers: PyTorch texts/s", speeds[1] / speeds[0], "times", at_least=1.9))
        context["texts_per_s"] = {"teacher": speeds[0], "student": speeds[1]}
    return figures, context


def texts_per_s(folders: list[Path], bench: Bench, data: list[str]) -> list[float]:
    """Throughput of models with the same tokenizer, timed interleaved on validation texts."""
    from hydra import compose, initialize_config_dir

    from chirplet.cli.binding import parse
    from chirplet.data.batching.tokens import tokenize
    from chirplet.data.preparation.prepare import prepare
    from chirplet.evaluation.cost import Timed, time_interleaved
    from chirplet.runtime.tokenizer import open_tokenizer

    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        source = parse(compose("config", overrides=data)).data
    record = read(folders[0])
    tokenizer, pad_id = open_tokenizer(folders[0], record["max_length"])
    texts = prepare(source, bench.folder / "cache").val.text
    tokens = tokenize(texts, tokenizer, record["cleaning"], record["max_length"])
    rounds = 1 if bench.quick else 3
    models = [Timed(folder, tokens, pad_id) for folder in folders]
    return [timing["texts_per_s"] for timing in time_interleaved(models, None, rounds)]


def vocabulary(bench: Bench) -> tuple[Figures, dict[str, Any]]:
    """Distill a small RoBERTa with random weights from a fine-tuned BERT with another tokenizer."""
    sys.path.insert(0, str(ROOT / "tests"))
    from checkpoints import tiny_roberta  # type: ignore[import-not-found]

    roberta = tiny_roberta(bench.folder / "roberta")
    teacher = bench.run("bert", "stage=finetune", "data=vader_tweets", "stage.measure_cost=false")
    student = ["model@student=local", f"student.name_or_path={roberta}", "student.max_length=60"]
    options = ["stage=distill", f"teacher={teacher}", "data=vader_tweets", "trainer.max_epochs=10"]
    record = read(
        bench.run("roberta_of_bert", *options, *student, "stage.learning_rate=2e-3", "stage.measure_cost=false")
    )
    baseline = record["training"]["label_only_baseline"]["test"]
    figures = [
        figure("RoBERTa of a BERT: test accuracy", record["metrics"]["test"]["accuracy"], "share"),
        figure("RoBERTa of a BERT: gain over its label-only baseline", baseline["difference"]["value"], "share"),
    ]
    context = {"teacher": read(teacher)["metrics"]["test"]["accuracy"], "label_only_baseline": baseline}
    return figures, context


def cost(bench: Bench, teacher: Path, data: list[str]) -> tuple[Figures, dict[str, Any]]:
    """Seconds of steps with a teacher's cached logits, relative to the same student's steps on labels.

    Each runs in a separate process; the two are interleaved in alternating order.
    """
    steps = [f"trainer.max_steps={COST_STEPS}", "trainer.limit_val_batches=1", "callback=none"]
    evaluated = ["stage.evaluate_train=false", "stage.evaluate_test=false", "stage.measure_cost=false"]
    shared = [*data, *steps, *evaluated]
    distilled = ["stage=distill", f"teacher={teacher}", "stage.cut.num_layers=3", "stage.label_only_baseline=false"]
    first = bench.run("cost_first", *shared, *distilled)  # caches the teacher's logits
    record = read(first)
    same_tokens = [f"model.cleaning={record['cleaning']}", f"model.max_length={record['max_length']}"]
    labeled = ["stage=finetune", "model=local", f"model.name_or_path={first}", *same_tokens]
    methods = {"taught": distilled, "labeled": labeled}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for round_number in range(1 if bench.quick else 4):
        for name in sorted(methods, reverse=bool(round_number % 2)):
            training = read(bench.run(f"cost_{name}{round_number}", *shared, *methods[name]))["training"]
            if training["resumed"]:
                raise SystemExit(
                    f"cost_{name}{round_number} was interrupted, so its seconds are unknown; remove its folder"
                )
            seconds[name].append(training["seconds"])
    ratios = [one / other for one, other in zip(seconds["taught"], seconds["labeled"], strict=True)]
    figures = [figure("distillation, seconds relative to training on labels", median(ratios), "", at_most=1.1)]
    return figures, {"ratios": ratios, "seconds": seconds, "steps": record["training"]["steps"]}


def main() -> None:
    """Run the selected parts, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--teacher", type=Path, help="artifact of experiment=corona_minilm")
    parser.add_argument("--part", action="append", choices=PARTS, help="run only this part; can be repeated")
    parser.add_argument("--seeds", type=int, default=3, help="students of each depth")
    parser.add_argument("--folder", type=Path, help="folder for the runs; a temporary one by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("overrides", nargs="*", help="further overrides for run.py")
    arguments = parser.parse_args()
    parts = arguments.part or list(PARTS)
    before = matrix_product_rate()
    figures: Figures = []
    context: dict[str, Any] = {"quick": arguments.quick, "seeds": list(range(42, 42 + arguments.seeds))}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench((arguments.folder or Path(name)).absolute(), arguments.overrides, arguments.quick)
        data = ["data=vader_tweets"]
        if arguments.data is not None:
            data = ["data=corona_nlp", f"data.dir={arguments.data.resolve()}", "data.val_fraction=0.05"]
        teacher = None if arguments.teacher is None else arguments.teacher.resolve()
        if teacher is None and set(parts) - {"vocabulary"}:
            experiment = [] if arguments.data is None else ["experiment=corona_minilm"]
            teacher = bench.run("teacher", "stage=finetune", *data, *experiment, "stage.measure_cost=false")
        for part in parts:
            if part == "vocabulary":
                results, details = vocabulary(bench)
            else:
                assert teacher is not None
                seeds = range(42, 42 + arguments.seeds)
                results, details = (
                    cost(bench, teacher, data) if part == "cost" else students(bench, part, teacher, data, seeds)
                )
            figures += results
            context[part] = details
    context["data"] = data[0].partition("=")[2]
    context["bf16_gflops"] = {"before": round(before), "after": round(matrix_product_rate())}
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
