"""How fast training is: `transformers.Trainer`, chirplet, and the matrix products alone, on the same tweets.

`python benchmarks/train_speed.py` trains the bundled MiniLM on the default tweets, `--data DIR` on the two Corona CSVs
in DIR, in batches of 32, each of these by turns in a process of its own:

    trainer        transformers.Trainer as it is by default
    tuned trainer  transformers.Trainer with bf16, fused AdamW and batches grouped by length
    chirplet       stage=finetune
    floor          the matrix products of chirplet's batches alone: of the whole model, and of what chirplet computes

Then the tuned trainer and chirplet each train for a fixed number of steps with three seeds, and are compared on
validation. `--ablate` measures what each of chirplet's settings for speed is worth, `--scale` how cost grows with the
number and the length of tweets. `--quick` takes a few steps of everything.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import Figures, figure, matrix_product_rate

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZE = 32
LEARNING_RATE, WEIGHT_DECAY, WARMUP = 1e-4, 0.01, 0.06
SKIPPED = 5
"""Steps at the beginning that no speed is taken from."""

ABLATIONS = {
    "as it is": [],
    "the encoder of transformers": ["trainer.fast_encoder=false"],
    "all word embeddings moved in every step": ["trainer.rowwise_embeddings=false"],
    "freed memory given back": ["trainer.keep_freed_memory=false"],
    "padded to the longest tweet": ["trainer.pad_to_multiple_of=1"],
    "padded to multiples of 4": ["trainer.pad_to_multiple_of=4"],
    "padded to multiples of 16": ["trainer.pad_to_multiple_of=16"],
    "fp32": ["trainer.precision=32-true"],
    "scaled dot product attention": ["model.attention=sdpa"],
    "dropout 0.1 in the encoder": ["model.dropout=0.1"],
    "no clipping": ["trainer.gradient_clip_val=null"],
    "no display": ["~callback.progress"],
    "nothing of all this": [
        "trainer.fast_encoder=false",
        "trainer.rowwise_embeddings=false",
        "trainer.keep_freed_memory=false",
        "trainer.pad_to_multiple_of=1",
    ],
}
"""chirplet with one setting changed at a time."""


class Clock:
    """When each step ended, and how many tweets and tokens had been trained on by then."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def tick(self) -> None:
        """A step has ended."""
        self.times.append(time.perf_counter())

    def account(self) -> dict[str, Any]:
        """Speed after the first steps, and what the process has needed."""
        steps = len(self.times) - 1 - SKIPPED
        seconds = self.times[-1] - self.times[SKIPPED]
        return {"tweets_per_s": BATCH_SIZE * steps / seconds, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def composed(overrides: list[str]) -> Any:
    """chirplet's configuration, bound, and as it was composed."""
    from hydra import compose, initialize_config_dir

    from chirplet.experiment import parse

    quiet = ["logger=none", "stage.evaluate_train=false", "stage.evaluate_test=false", "stage.measure_cost=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return parse(compose("config", [*quiet, f"stage.batch_size={BATCH_SIZE}", *overrides]))


def prepared(experiment: Any) -> Any:
    """The corpus and its tokens."""
    from chirplet.data.prepare import prepare
    from chirplet.model.loading import load_tokenizer
    from chirplet.stage.outcome import Prepared

    cache_dir = Path(experiment.cache_dir).expanduser()
    model = experiment.model
    return Prepared(
        prepare(experiment.data, cache_dir), load_tokenizer(model), model.cleaning, model.max_length, cache_dir
    )


def chirplet(overrides: list[str], steps: int, seed: int, judged: bool) -> dict[str, Any]:
    """chirplet's fine-tuning for so many steps."""
    import pytorch_lightning as pl

    from chirplet.callback.base import CallbackSettings
    from chirplet.stage.base import Run

    clock = Clock()

    class Ticking(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            clock.tick()

    class Ticks(CallbackSettings):
        def build(self, folder: Path) -> pl.Callback:
            return Ticking()

    with tempfile.TemporaryDirectory() as folder:
        limits = [f"trainer.max_steps={steps}", "trainer.max_epochs=1000", "~callback.early_stopping"]
        if not judged:
            limits.append("stage.final=true")
        experiment = composed([*limits, *overrides, f"seed={seed}"])
        callbacks = {name: one for name, one in experiment.callback.items() if name != "checkpoint"}
        run = Run(
            model=experiment.model,
            data=experiment.data,
            trainer=experiment.trainer,
            loggers={},
            callbacks=callbacks | {"clock": Ticks()},
            seed=seed,
            deterministic=False,
            objective=experiment.objective,
            output_dir=Path(folder),
            cache_dir=Path(experiment.cache_dir).expanduser(),
            config={},
        )
        experiment.stage.run(run)
        record = json.loads((Path(folder) / "artifact" / "artifact.json").read_text())
    account = clock.account()
    if judged:
        account["val_accuracy"] = record["metrics"]["val"]["accuracy"]
    return account


def trainer(overrides: list[str], steps: int, seed: int, judged: bool, tuned: bool) -> dict[str, Any]:
    """`transformers.Trainer` for so many steps, at its defaults or tuned."""
    import torch
    from torch.utils.data import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    from chirplet.model.bundled import bundled_folder
    from chirplet.module.inference import predict_logits

    clock = Clock()

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    data = prepared(composed([*overrides, f"seed={seed}"]))
    train, tokens = data.corpus.train, data.tokens(data.corpus.train)

    class Rows(Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(tokens)

        def __getitem__(self, place: int) -> dict[str, Any]:
            ids = tokens[place].tolist()
            return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": int(train.label[place])}

    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(bundled_folder(), num_labels=len(data.corpus.labels))
    better = {"bf16": True, "optim": "adamw_torch_fused", "train_sampling_strategy": "group_by_length"} if tuned else {}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH_SIZE,
            max_steps=steps,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            warmup_steps=round(WARMUP * steps),
            seed=seed,
            use_cpu=not torch.cuda.is_available(),
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            **better,
        )
        Trainer(
            model,
            arguments,
            train_dataset=Rows(),
            data_collator=DataCollatorWithPadding(data.tokenizer),
            callbacks=[Ticking()],
        ).train()
    account = clock.account()
    if judged:
        val = data.corpus.val
        logits = predict_logits(model, data.tokens(val), data.pad_id, 64, bf16=tuned)
        account["val_accuracy"] = float((logits.argmax(1) == val.label).mean())
    return account


def floor(overrides: list[str], steps: int, seed: int) -> dict[str, Any]:
    """The matrix products of chirplet's batches alone, forth and back, bf16 where training would take it."""
    import torch
    from transformers import AutoConfig

    from chirplet.data.batches import training_loader
    from chirplet.hardware import keep_freed_memory
    from chirplet.model.bundled import bundled_folder
    from chirplet.trainer import bf16_is_native

    keep_freed_memory()
    experiment = composed([*overrides, f"seed={seed}"])
    data = prepared(experiment)
    config = AutoConfig.from_pretrained(bundled_folder())
    train = data.corpus.train
    loader = training_loader(
        data.tokens(train), train.label, data.pad_id, BATCH_SIZE, seed, experiment.trainer.pad_to_multiple_of
    )
    shapes = [tuple(batch["input_ids"].shape) for batch, _ in zip(loader, range(steps), strict=False)]
    dtype = torch.bfloat16 if bf16_is_native(torch.device("cpu")) else torch.float32
    account = {}
    for name, short in {"whole": False, "own": True}.items():
        clock = Clock()
        step = {shape: products(shape, config, dtype, short) for shape in set(shapes)}
        for shape in set(shapes):
            step[shape]()
        clock.tick()
        for shape in shapes:
            step[shape]()
            clock.tick()
        account[name] = clock.account()["tweets_per_s"]
    return account


def products(shape: tuple[int, int], config: Any, dtype: Any, short: bool) -> Callable[[], None]:
    """A function that multiplies what one step of that shape multiplies; `short`: the last layer's first token only."""
    import torch

    rows, tokens = shape
    width, wide, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    calls: list[tuple[Any, Any, bool]] = []

    def made(*size: int) -> Any:
        return torch.randn(*size).to(dtype)

    def linear(count: int, into: int, out: int) -> None:
        # Forward, the gradient of the input and that of the weight.
        x, weight, gradient = made(count, into), made(out, into), made(count, out)
        calls.extend([(x, weight.t(), False), (gradient, weight, False), (gradient.t(), x, False)])

    def attention(asking: int) -> None:
        size = width // heads
        query, key = made(rows * heads, asking, size), made(rows * heads, tokens, size)
        shares = made(rows * heads, asking, tokens)
        scores, context, of_key = (query, key.transpose(1, 2)), (shares, key), (shares.transpose(1, 2), query)
        # Forward, and the gradients of shares, value, query and key, which have the same shapes.
        calls.extend((*pair, True) for pair in (scores, context, scores, of_key, context, of_key))

    layers = config.num_hidden_layers
    for layer in range(layers):
        if short and layer == layers - 1:
            linear(rows * tokens, width, 2 * width)
            linear(rows, width, width)
            attention(1)
            count = rows
        else:
            linear(rows * tokens, width, 3 * width)
            attention(tokens)
            count = rows * tokens
        linear(count, width, width)
        linear(count, width, wide)
        linear(count, wide, width)

    def step() -> None:
        for left, right, batched in calls:
            torch.bmm(left, right) if batched else torch.mm(left, right)

    return step


def tokens(overrides: list[str], steps: int, seed: int, judged: bool) -> dict[str, Any]:
    """Seconds in which the tweets are read, cleaned and tokenised, and from the cache."""
    from transformers import AutoTokenizer

    import chirplet.stage.outcome  # noqa: F401 - what is imported is no part of the work
    from chirplet.model.bundled import bundled_folder

    experiment = composed([*overrides, f"seed={seed}"])
    AutoTokenizer.from_pretrained(bundled_folder())
    started = time.perf_counter()
    data = prepared(experiment)
    count = sum(len(data.tokens(getattr(data.corpus, split))) for split in ("train", "val", "test"))
    return {"seconds": time.perf_counter() - started, "tweets": count}


WAYS: dict[str, Callable[[list[str], int, int, bool], dict[str, Any]]] = {
    "trainer": lambda overrides, steps, seed, judged: trainer(overrides, steps, seed, judged, tuned=False),
    "tuned trainer": lambda overrides, steps, seed, judged: trainer(overrides, steps, seed, judged, tuned=True),
    "chirplet": chirplet,
    "floor": lambda overrides, steps, seed, judged: floor(overrides, steps, seed),
    "tokens": tokens,
}


COMPARED = ("trainer", "tuned trainer", "chirplet", "floor")


def measured(way: str, overrides: list[str], steps: int, seed: int = 1, judged: bool = False) -> dict[str, Any]:
    """What one way does in a process of its own."""
    order = json.dumps({"way": way, "overrides": overrides, "steps": steps, "seed": seed, "judged": judged})
    done = subprocess.run(
        [sys.executable, __file__, "--child", order],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{order}: exit {done.returncode}\n{done.stderr[-4000:]}")
    account: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return account


def compared(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """All ways by turns; medians of the rounds."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in COMPARED}
    for _ in range(rounds):
        for way, accounts in found.items():
            accounts.append(measured(way, overrides, steps))
    speed = {way: statistics.median(one["tweets_per_s"] for one in found[way]) for way in COMPARED if way != "floor"}
    bound = {name: statistics.median(one[name] for one in found["floor"]) for name in ("whole", "own")}
    own = speed["chirplet"]
    figures = [
        figure("trainer", speed["trainer"], "tweets/s"),
        figure("tuned trainer", speed["tuned trainer"], "tweets/s"),
        figure("chirplet", own, "tweets/s"),
        figure("floor, the whole model's products", bound["whole"], "tweets/s"),
        figure("floor, chirplet's own products", bound["own"], "tweets/s"),
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


def judged(overrides: list[str], steps: int, seeds: list[int]) -> tuple[Figures, dict[str, Any]]:
    """Validation accuracy after a fixed number of steps, chirplet's beside the tuned trainer's."""
    ways = ("tuned trainer", "chirplet")
    found: dict[str, list[float]] = {way: [] for way in ways}
    for seed in seeds:
        for way in ways:
            found[way].append(measured(way, overrides, steps, seed, judged=True)["val_accuracy"])
    figures = [
        figure(f"validation accuracy after {steps} steps, {way}", statistics.fmean(found[way]), "share") for way in ways
    ]
    gain = [own - theirs for theirs, own in zip(*found.values(), strict=True)]
    figures.append(figure("chirplet beyond the tuned trainer, mean over seeds", statistics.fmean(gain), "share"))
    return figures, {"val_accuracy": found, "gain": gain, "seeds": seeds}


def ablated(overrides: list[str], steps: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """chirplet with one setting changed at a time, by turns."""
    found: dict[str, list[float]] = {name: [] for name in ABLATIONS}
    for _ in range(rounds):
        for name, changed in ABLATIONS.items():
            found[name].append(measured("chirplet", [*overrides, *changed], steps)["tweets_per_s"])
    figures = [figure(name, statistics.median(speeds), "tweets/s") for name, speeds in found.items()]
    return figures, {"tweets_per_s": found, "changed": ABLATIONS, "steps": steps}


def started(overrides: list[str]) -> tuple[Figures, dict[str, Any]]:
    """Seconds until there are tokens, without and with a cache, and until a command has trained one step."""
    with tempfile.TemporaryDirectory() as folder:
        cached = [*overrides, f"cache_dir={folder}"]
        if not overrides:
            # The default tweets are fetched already; what is made of them is not there.
            fetched = Path(os.environ.get("CHIRPLET_CACHE", "~/.cache/chirplet")).expanduser() / "vader_tweets"
            shutil.copytree(fetched, Path(folder) / "vader_tweets")
        first, again = (measured("tokens", cached, 0) for _ in range(2))
        short = ["trainer.max_steps=1", "stage.final=true", "stage.measure_cost=false", "logger=none"]
        short += ["stage.evaluate_train=false", "stage.evaluate_test=false"]
        for place in range(2):  # the first one fills the cache
            seconds = first_step_s([*cached, *short, f"hydra.run.dir={folder}/run_{place}"])
    figures = [
        figure("tweets read, cleaned and tokenised, the first time", first["seconds"], "s", at_most=8.0),
        figure("the same from the cache", again["seconds"], "s", at_most=0.5),
        figure("from the command to the end of the first training step, with a warm cache", seconds, "s", at_most=8.0),
    ]
    return figures, {"tweets": first["tweets"]}


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


def scaled(overrides: list[str], steps: int) -> tuple[Figures, dict[str, Any]]:
    """Speed and memory with more tweets, and with longer ones, which are tweets joined until they are long enough."""
    corpus = prepared(composed(overrides)).corpus
    texts, labels = corpus.train.text, [corpus.labels[place] for place in corpus.train.label]
    unit = len(texts) // 16
    figures: Figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for times in (1, 4, 16):
            own = written(folder / f"{times}.csv", texts[: times * unit], labels)
            account = measured("chirplet", own, steps)
            figures.append(figure(f"{times * unit} tweets", account["tweets_per_s"], "tweets/s"))
            figures.append(figure(f"{times * unit} tweets, peak memory", account["peak_mb"], "MB"))
        joined = [" ".join(texts[place : place + 12]) for place in range(0, len(texts) - 12, 4)]
        own = written(folder / "long.csv", joined, labels)
        for length in (32, 64, 128):
            account = measured("chirplet", [*own, f"model.max_length={length}"], steps)
            figures.append(figure(f"{length} tokens each", account["tweets_per_s"], "tweets/s"))
            figures.append(figure(f"{length} tokens each", account["tweets_per_s"] * length, "tokens/s"))
    return figures, {"steps": steps}


def written(path: Path, texts: list[str], labels: list[str]) -> list[str]:
    """Write tweets and as many labels as CSV; the overrides that train on it."""
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
    parser.add_argument("--ablate", action="store_true", help="what each setting for speed is worth, instead")
    parser.add_argument("--scale", action="store_true", help="more tweets and longer ones, instead")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        order = json.loads(arguments.child)
        way = WAYS[order["way"]]
        print(json.dumps(way(order["overrides"], order["steps"], order["seed"], order["judged"])))
        return
    from chirplet.hardware import cpu_name

    overrides = []
    if arguments.data is not None:
        overrides = ["data=corona_nlp", f"data.dir={arguments.data.resolve()}"]
    before = matrix_product_rate()
    steps, rounds = (12, 1) if arguments.quick else (80, 2)
    if arguments.ablate:
        figures, context = ablated(overrides, steps, 1 if arguments.quick else 2)
    elif arguments.scale:
        figures, context = scaled(overrides, steps)
    else:
        beginning, size = started(overrides)
        figures, context = compared(overrides, steps, rounds)
        accuracy, more = judged(overrides, 20 if arguments.quick else 200, [1] if arguments.quick else [1, 2, 3])
        figures, context = beginning + figures + accuracy, size | context | {"accuracy": more}
    context |= {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "bf16_gflops": {"before": round(before), "after": round(matrix_product_rate())},
        "data": "vader_tweets" if arguments.data is None else "corona_nlp",
        "batch_size": BATCH_SIZE,
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
