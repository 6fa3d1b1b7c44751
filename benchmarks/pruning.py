"""Pruning: accuracy by sparsity, speed by structure, and bytes by vocabulary.

Each pruned model is compared with a dense baseline: the same parent and the same recovery steps, without pruning.

`--data DIR` has the two Corona CSVs (without it, the default texts are used); `--teacher ARTIFACT` is the parent, made
from the same texts with `experiment=corona_minilm` (without it, a parent is fine-tuned first, in 25 minutes). `--quick`
takes a few steps of each, so its accuracies mean nothing. `--folder DIR` keeps the runs and their cache, and reuses
them.
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
"""Optimizer steps of 32 texts and the peak learning rate, chosen on validation. At low sparsity, a high rate costs more
accuracy than it recovers."""
MINUTES = 10
"""Goal for the time of a recovery."""
RECOVERY = ["stage.recovery=distill", "trainer.max_epochs=3"]
SPARSE = {40: SHORT, 50: SHORT, 70: LONG, 90: SHORT}
FIRST_SEED, SEEDS = 42, {40: [42, 1, 2]}
"""The goal at 40% is six texts, so the result of one run is mostly noise."""
GOALS = {40: 0.3, 50: 0.5, 70: 1.5, 90: None}
"""Goals for the drop of test accuracy in points, by percentage of zeros."""
STRUCTURED = {
    "2x": ["pruner.layers=3", "pruner.intermediate_size=1280"],
    "3x": ["pruner.layers=2", "pruner.intermediate_size=1152"],
}


class Bench:
    """Runs of `run.py` on the same texts, in one folder with one cache."""

    def __init__(self, data: list[str], folder: Path, quick: bool) -> None:
        self.data = data
        self.folder = folder
        self.runs = Kept(folder)
        self.quick = quick

    def run(self, name: str, *overrides: str, steps: int | None = None) -> Artifact:
        """The artifact of one run, which trains `steps` optimizer steps if given."""
        limit = [] if steps is None else [f"trainer.max_steps={4 if self.quick else steps}"]
        fixed = ["logger=none", "stage.measure_cost=false", "stage.evaluate_train=false"]
        return Artifact.open(self.runs.run(name, *self.data, *overrides, *limit, *fixed) / "artifact")

    def prepared(self, artifact: Artifact) -> Prepared:
        """The texts as tokens of an artifact."""
        with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
            source = parse(compose("config", overrides=self.data)).data
        cache = self.folder / "cache"
        return prepared(artifact, prepare(source, cache), cache)

    def prune(self, parent: Artifact, name: str, *overrides: str, training: Training | None = None) -> Artifact:
        """The artifact of one pruning run."""
        steps, rate = (None, []) if training is None else (training[0], [f"stage.learning_rate={training[1]}"])
        return self.run(name, "stage=prune", f"artifact={parent.folder.absolute()}", *overrides, *rate, steps=steps)


def points(parent: Artifact, artifact: Artifact) -> float:
    """The drop of test accuracy in points."""
    before, after = parent.metric("test/accuracy"), artifact.metric("test/accuracy")
    assert before is not None
    assert after is not None
    return 100 * (before - after)


def recovery_time(name: str, artifact: Artifact) -> dict[str, Any]:
    """The figure of a recovery's training time."""
    return figure(name, artifact.record.training["seconds"] / 60, "min", at_most=MINUTES)


def sparse_figures(bench: Bench, parent: Artifact, baselines: dict[Training, Artifact]) -> Figures:
    """Global magnitude pruning of the encoder, by sparsity."""
    figures = []
    for per_cent, training in ({50: SHORT} if bench.quick else SPARSE).items():
        seeds = [FIRST_SEED] if bench.quick else SEEDS.get(per_cent, [FIRST_SEED])
        pruning = ["pruner.schedule=cubic", f"pruner.sparsity={per_cent / 100}", "stage.curve=[]", *RECOVERY]
        artifacts = []
        for seed in seeds:
            seeded = [] if seed == FIRST_SEED else [f"seed={seed}"]
            name = f"sparse{per_cent}" if seed == FIRST_SEED else f"sparse{per_cent}_{seed}"
            artifacts.append(bench.prune(parent, name, *pruning, *seeded, training=training))
        drop = fmean(points(parent, artifact) for artifact in artifacts)
        label = f"{per_cent}%" if len(seeds) == 1 else f"{per_cent}%, mean of {len(seeds)} seeds"
        figures.append(figure(f"drop of test accuracy at {label}", drop, "points", at_most=GOALS[per_cent]))
        if len(seeds) > 1:
            figures += [
                figure(f"drop of test accuracy at {per_cent}%, seed {seed}", points(parent, artifact), "points")
                for seed, artifact in zip(seeds, artifacts, strict=True)
            ]
        slowest = max(artifacts, key=lambda artifact: artifact.record.training["seconds"])
        figures.append(recovery_time(f"recovery at {per_cent}%", slowest))
        difference = drop - points(parent, baselines[training])
        figures.append(figure(f"drop beyond the dense baseline of as many steps, at {per_cent}%", difference, "points"))
        weights, size = count_parameters(artifacts[0].folder), count_bytes(artifacts[0].folder)
        figures.append(figure(f"weights that are not zero, at {per_cent}%", weights["params_nonzero"] / 1e6, "million"))
        figures.append(figure(f"compressed size at {per_cent}%", size["bytes_compressed"] / 1e6, "MB"))
    return figures


def structured_figures(bench: Bench, parent: Artifact, data: Prepared, baselines: dict[Training, Artifact]) -> Figures:
    """Fewer layers and neurons, timed interleaved with the parent, in PyTorch and fp32."""
    artifacts = {
        name: bench.prune(parent, f"structured{name}", "pruner=structured", *sizes, *RECOVERY, training=LONG)
        for name, sizes in STRUCTURED.items()
        if name == "2x" or not bench.quick
    }
    sample = data.sample()
    models = [Timed(artifact.folder, sample, data.pad_id) for artifact in (parent, *artifacts.values())]
    dense, *others = time_interleaved(models, None, rounds=1 if bench.quick else 3)
    figures = []
    for (name, artifact), timing in zip(artifacts.items(), others, strict=True):
        at_least, at_most = (2.0, 1.0) if name == "2x" else (None, None)
        sizes = " ".join(STRUCTURED[name])
        times = timing["texts_per_s"] / dense["texts_per_s"]
        figures.append(
            figure(f"structured, {sizes}: texts/s, fp32, relative to the parent", times, "times", at_least=at_least)
        )
        figures.append(
            figure(f"structured, {sizes}: drop of test accuracy", points(parent, artifact), "points", at_most=at_most)
        )
        figures.append(recovery_time(f"structured, {sizes}: recovery", artifact))
        difference = points(parent, artifact) - points(parent, baselines[LONG])
        figures.append(figure(f"structured, {sizes}: drop beyond the dense baseline", difference, "points"))
    return figures


def vocabulary_figures(bench: Bench, parent: Artifact, data: Prepared) -> tuple[Figures, dict[str, Any]]:
    """Vocabulary pruning with its defaults and with `max_shift=null`, compared with the parent in fp32."""
    figures: Figures = []
    details: dict[str, Any] = {}
    for name, more in {"vocabulary": [], "vocabulary, max_shift=null": ["pruner.max_shift=null"]}.items():
        folder = name.replace(", max_shift=null", "_plain")
        artifact = bench.prune(parent, folder, "pruner=vocabulary", "stage.recovery=none", *more)
        figures += _compared_with_parent(name, bench, parent, data, artifact, goal=None if more else 0.995)
        details[name] = artifact.record.training["pruning"] | {"sparsity": None}
    large = vocabulary_saving(data.corpus, 500 if bench.quick else None)
    saved = large["bytes_before"] - large["bytes_after"]
    figures += [
        figure("vocabulary, BERTweet's shape: bytes saved", saved / 1e6, "MB"),
        figure("vocabulary, BERTweet's shape: share of bytes saved", saved / large["bytes_before"], "share"),
        figure("vocabulary, BERTweet's shape: logits differ by", large["largest_difference"], "at most", at_most=1e-4),
    ]
    return figures, details | {"large_vocabulary": large}


def _compared_with_parent(
    name: str, bench: Bench, parent: Artifact, data: Prepared, artifact: Artifact, goal: float | None
) -> Figures:
    """Changed labels and saved bytes."""
    smaller = bench.prepared(artifact)
    splits: tuple[Split, ...] = ("val", "test")
    logits = []
    for model, reader in ((parent, data), (artifact, smaller)):
        tokens: dict[str, Tokens] = {split: reader.tokens(reader.corpus.split(split)) for split in splits}
        logits.append(fresh.logits_of(model.folder, tokens, reader.pad_id, 64, None, "32-true"))
    same = {split: logits[0][split].argmax(1) == logits[1][split].argmax(1) for split in splits}
    before, after = load_tokenizer(settings_of(parent)), load_tokenizer(settings_of(artifact))
    remaining = after.get_vocab()
    removed = {number for token, number in before.get_vocab().items() if token not in remaining}
    removed.add(before.unk_token_id)
    val = data.tokens(data.corpus.val)
    unaffected = np.array([removed.isdisjoint(val[i].tolist()) for i in range(len(val))])
    changed = int((~same["val"][unaffected]).sum())
    old, new = (count_bytes(model.folder)["bytes_on_disk"] for model in (parent, artifact))
    return [
        figure(f"{name}: val texts with kept tokens whose label changed", changed, "texts", at_most=0),
        figure(f"{name}: val texts whose tokens were kept", float(unaffected.mean()), "share"),
        figure(f"{name}: labels unchanged on val", float(same["val"].mean()), "share"),
        figure(f"{name}: labels unchanged on test", float(same["test"].mean()), "share", at_least=goal),
        figure(f"{name}: drop of test accuracy", points(parent, artifact), "points"),
        figure(f"{name}: bytes saved", (old - new) / 1e6, "MB"),
        figure(f"{name}: share of the parent's bytes saved", (old - new) / old, "share"),
    ]


def main() -> None:
    """Run, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--teacher", type=Path, help="the artifact to prune, trained on the same texts")
    parser.add_argument("--only", choices=("sparse", "structured", "vocabulary"), help="run only this part")
    parser.add_argument("--folder", type=Path, help="folder for the runs; a temporary one by default")
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
        results, details = vocabulary_figures(bench, parent, data)
        figures += results
        context |= details
    baselines: dict[Training, Artifact] = {}
    for training in {None: (SHORT, LONG), "sparse": (SHORT, LONG), "structured": (LONG,)}.get(only, ()):
        dense = ["pruner.schedule=one_shot", "pruner.sparsity=0.0", "stage.curve=[]"]
        name = f"dense baseline, {training[0]} steps at {training[1]:g}"
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
