"""Pruning: how much accuracy goes with the weights, what structure is worth in time, what a vocabulary weighs.

Each pruned model stands beside a control: the same parent, the same steps from the same logits, nothing pruned.

`--data DIR` has the two Corona CSVs (else the default texts); `--teacher ARTIFACT` is the parent, made from the same
texts with `experiment=corona_minilm` (else it is fine-tuned first, 25 minutes). `--quick` takes a few steps of each,
so its accuracies mean nothing. `--folder DIR` keeps the runs and their cache there, and takes up those it finds.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from large_vocabulary import vocabulary_saving
from measuring import ROOT, Figures, Kept, figure

from chirplet.artifact.artifact import Artifact
from chirplet.cli.binding import parse
from chirplet.data.base import Split
from chirplet.data.batching.tokens import Tokens
from chirplet.data.preparation.prepare import prepare
from chirplet.evaluation import isolated_process as fresh
from chirplet.evaluation.cost import Timed, count_bytes, time_interleaved
from chirplet.evaluation.parameter_count import count_parameters
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.stage.run.parent import prepared, settings_of
from chirplet.stage.run.prepared import Prepared

Training = tuple[int, float]

SHORT, LONG = (1000, 1e-4), (1500, 2e-4)
"""Optimizer steps of 32 texts, and the peak of their learning rate; chosen on validation. Where little was taken away,
a high rate costs more than it mends."""
MINUTES = 10
"""That a recovery may take."""
RECOVERY = ["stage.recovery=distill", "trainer.max_epochs=3"]
SPARSE = {40: SHORT, 50: SHORT, 70: LONG, 90: SHORT}
FIRST_SEED, SEEDS = 42, {40: [42, 1, 2]}
"""The goal at 40% is six texts: what one run does there is mostly chance."""
GOALS = {40: 0.3, 50: 0.5, 70: 1.5, 90: None}
"""Largest drop in points of test accuracy, by per cent of zeros."""
STRUCTURED = {
    "2x": ["pruner.layers=3", "pruner.intermediate_size=1280"],
    "3x": ["pruner.layers=2", "pruner.intermediate_size=1152"],
}


class Bench:
    """Runs of `run.py` on one set of texts, in one folder with one cache."""

    def __init__(self, data: list[str], folder: Path, quick: bool) -> None:
        self.data = data
        self.folder = folder
        self.runs = Kept(folder)
        self.quick = quick

    def run(self, name: str, *overrides: str, steps: int | None = None) -> Artifact:
        """One run's artifact; `steps` of training."""
        limit = [] if steps is None else [f"trainer.max_steps={4 if self.quick else steps}"]
        fixed = ["logger=none", "stage.measure_cost=false", "stage.evaluate_train=false"]
        return Artifact.open(self.runs.run(name, *self.data, *overrides, *limit, *fixed) / "artifact")

    def prepared(self, artifact: Artifact) -> Prepared:
        """The texts as that artifact reads them."""
        with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
            source = parse(compose("config", overrides=self.data)).data
        cache = self.folder / "cache"
        return prepared(artifact, prepare(source, cache), cache)

    def prune(self, parent: Artifact, name: str, *overrides: str, training: Training | None = None) -> Artifact:
        """As `run`, from a parent."""
        steps, rate = (None, []) if training is None else (training[0], [f"stage.learning_rate={training[1]}"])
        return self.run(name, "stage=prune", f"artifact={parent.folder.absolute()}", *overrides, *rate, steps=steps)


def points(parent: Artifact, artifact: Artifact) -> float:
    """By how many points the test accuracy fell."""
    before, after = parent.metric("test/accuracy"), artifact.metric("test/accuracy")
    assert before is not None
    assert after is not None
    return 100 * (before - after)


def recovery_time(name: str, artifact: Artifact) -> dict[str, Any]:
    """How long the training took."""
    return figure(name, artifact.record.training["seconds"] / 60, "min", at_most=MINUTES)


def sparse_figures(bench: Bench, parent: Artifact, baselines: dict[Training, Artifact]) -> Figures:
    """Global magnitude over the body, by sparsity."""
    found = []
    for per_cent, training in ({50: SHORT} if bench.quick else SPARSE).items():
        seeds = [FIRST_SEED] if bench.quick else SEEDS.get(per_cent, [FIRST_SEED])
        pruning = ["pruner.schedule=cubic", f"pruner.sparsity={per_cent / 100}", "stage.curve=[]", *RECOVERY]
        made = []
        for seed in seeds:
            own = [] if seed == FIRST_SEED else [f"seed={seed}"]
            name = f"sparse{per_cent}" if seed == FIRST_SEED else f"sparse{per_cent}_{seed}"
            made.append(bench.prune(parent, name, *pruning, *own, training=training))
        drop = fmean(points(parent, artifact) for artifact in made)
        told = f"{per_cent}%" if len(seeds) == 1 else f"{per_cent}%, mean of {len(seeds)} seeds"
        found.append(figure(f"drop of test accuracy at {told}", drop, "points", at_most=GOALS[per_cent]))
        if len(seeds) > 1:
            found += [
                figure(f"drop of test accuracy at {per_cent}%, seed {seed}", points(parent, artifact), "points")
                for seed, artifact in zip(seeds, made, strict=True)
            ]
        slowest = max(made, key=lambda artifact: artifact.record.training["seconds"])
        found.append(recovery_time(f"recovery at {per_cent}%", slowest))
        compared_with = drop - points(parent, baselines[training])
        found.append(figure(f"beside the control of as many steps, at {per_cent}%", compared_with, "points"))
        weights, size = count_parameters(made[0].folder), count_bytes(made[0].folder)
        found.append(figure(f"weights that are not zero, at {per_cent}%", weights["params_nonzero"] / 1e6, "million"))
        found.append(figure(f"compressed size at {per_cent}%", size["bytes_compressed"] / 1e6, "MB"))
    return found


def structured_figures(bench: Bench, parent: Artifact, data: Prepared, baselines: dict[Training, Artifact]) -> Figures:
    """Fewer layers and neurons, timed beside the parent in turns, in PyTorch and fp32."""
    made = {
        name: bench.prune(parent, f"structured{name}", "pruner=structured", *kept, *RECOVERY, training=LONG)
        for name, kept in STRUCTURED.items()
        if name == "2x" or not bench.quick
    }
    sample = data.sample()
    models = [Timed(artifact.folder, sample, data.pad_id) for artifact in (parent, *made.values())]
    dense, *others = time_interleaved(models, None, rounds=1 if bench.quick else 3)
    found = []
    for (name, artifact), timing in zip(made.items(), others, strict=True):
        at_least, at_most = (2.0, 1.0) if name == "2x" else (None, None)
        kept = " ".join(STRUCTURED[name])
        times = timing["texts_per_s"] / dense["texts_per_s"]
        found.append(
            figure(f"structured, {kept}: texts/s, fp32, beside the parent's", times, "times", at_least=at_least)
        )
        found.append(
            figure(f"structured, {kept}: drop of test accuracy", points(parent, artifact), "points", at_most=at_most)
        )
        found.append(recovery_time(f"structured, {kept}: recovery", artifact))
        compared_with = points(parent, artifact) - points(parent, baselines[LONG])
        found.append(figure(f"structured, {kept}: beside the control", compared_with, "points"))
    return found


def vocabulary_figures(bench: Bench, parent: Artifact, data: Prepared) -> tuple[Figures, dict[str, Any]]:
    """Labels by the parent and the pruned models of all texts, in fp32: as configured, and by train's tokens alone."""
    found: Figures = []
    told: dict[str, Any] = {}
    for name, more in {"vocabulary": [], "vocabulary, max_shift=null": ["pruner.max_shift=null"]}.items():
        folder = name.replace(", max_shift=null", "_plain")
        artifact = bench.prune(parent, folder, "pruner=vocabulary", "stage.recovery=none", *more)
        found += _beside_parent(name, bench, parent, data, artifact, goal=None if more else 0.995)
        told[name] = artifact.record.training["pruning"] | {"sparsity": None}
    large = vocabulary_saving(data.corpus, 500 if bench.quick else None)
    saved = large["bytes_before"] - large["bytes_after"]
    found += [
        figure("vocabulary, BERTweet's shape: bytes saved", saved / 1e6, "MB"),
        figure("vocabulary, BERTweet's shape: bytes saved, of all", saved / large["bytes_before"], "share"),
        figure("vocabulary, BERTweet's shape: logits differ by", large["largest_difference"], "at most", at_most=1e-4),
    ]
    return found, told | {"large_vocabulary": large}


def _beside_parent(
    name: str, bench: Bench, parent: Artifact, data: Prepared, artifact: Artifact, goal: float | None
) -> Figures:
    """Which labels changed, and how many bytes went."""
    smaller = bench.prepared(artifact)
    splits: tuple[Split, ...] = ("val", "test")
    logits = []
    for one, own in ((parent, data), (artifact, smaller)):
        tokens: dict[str, Tokens] = {split: own.tokens(own.corpus.split(split)) for split in splits}
        logits.append(fresh.logits_of(one.folder, tokens, own.pad_id, 64, None, "32-true"))
    same = {split: logits[0][split].argmax(1) == logits[1][split].argmax(1) for split in splits}
    before, after = load_tokenizer(settings_of(parent)), load_tokenizer(settings_of(artifact))
    left = after.get_vocab()
    lost = {number for token, number in before.get_vocab().items() if token not in left}
    lost.add(before.unk_token_id)
    val = data.tokens(data.corpus.val)
    kept = np.array([lost.isdisjoint(val[i].tolist()) for i in range(len(val))])
    changed = int((~same["val"][kept]).sum())
    old, new = (count_bytes(one.folder)["bytes_on_disk"] for one in (parent, artifact))
    return [
        figure(f"{name}: val texts with kept tokens whose label changed", changed, "texts", at_most=0),
        figure(f"{name}: val texts whose tokens were kept", float(kept.mean()), "share"),
        figure(f"{name}: labels unchanged on val", float(same["val"].mean()), "share"),
        figure(f"{name}: labels unchanged on test", float(same["test"].mean()), "share", at_least=goal),
        figure(f"{name}: drop of test accuracy", points(parent, artifact), "points"),
        figure(f"{name}: bytes saved", (old - new) / 1e6, "MB"),
        figure(f"{name}: bytes saved, of the parent's", (old - new) / old, "share"),
    ]


def main() -> None:
    """Run, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--teacher", type=Path, help="the artifact to prune, made from the same texts")
    parser.add_argument("--only", choices=("sparse", "structured", "vocabulary"), help="one part of it")
    parser.add_argument("--folder", type=Path, help="where runs are kept; a temporary one by default")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    data = (
        []
        if arguments.data is None
        else ["data=corona_nlp", f"data.dir={arguments.data.resolve()}", "data.val_fraction=0.05"]
    )
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(data, (arguments.folder or Path(name)).absolute(), arguments.quick)
        if arguments.teacher is not None:
            parent = Artifact.open(arguments.teacher)
        else:
            experiment = [] if arguments.data is None else ["experiment=corona_minilm"]
            few = ["callback=none"] if arguments.quick else []
            parent = bench.run("parent", "stage=finetune", *experiment, *few, steps=4 if arguments.quick else None)
        figures, context = _figures(bench, parent, arguments.only)
    print(json.dumps({"figures": figures, "context": context | {"quick": arguments.quick}}))


def _figures(bench: Bench, parent: Artifact, only: str | None) -> tuple[Figures, dict[str, Any]]:
    data = bench.prepared(parent)
    record = parent.record
    figures: Figures = []
    context: dict[str, Any] = {
        "cpu": record.cpu["name"],
        "versions": record.versions,
        "data": record.data.source,
        "sizes": record.data.sizes,
        "parent": {split: metrics["accuracy"] for split, metrics in record.metrics.items()},
        "seeds": [FIRST_SEED],
        "seeds_of": SEEDS,
    }
    if only in {None, "vocabulary"}:
        found, told = vocabulary_figures(bench, parent, data)
        figures += found
        context |= told
    baselines: dict[Training, Artifact] = {}
    for training in {None: (SHORT, LONG), "sparse": (SHORT, LONG), "structured": (LONG,)}.get(only, ()):
        dense = ["pruner.schedule=one_shot", "pruner.sparsity=0.0", "stage.curve=[]"]
        name = f"control, {training[0]} steps at {training[1]:g}"
        baseline = baselines[training] = bench.prune(
            parent, f"control{training[0]}", *dense, *RECOVERY, training=training
        )
        context[f"{name}, s"] = baseline.record.training["seconds"]
        figures.append(figure(f"{name}: drop of test accuracy", points(parent, baseline), "points"))
    if only in {None, "sparse"}:
        figures += sparse_figures(bench, parent, baselines)
    if only in {None, "structured"}:
        figures += structured_figures(bench, parent, data, baselines)
    return figures, context


if __name__ == "__main__":
    main()
