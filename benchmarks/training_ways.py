"""What `train_speed.py` compares, each carried out in a process of its own: `python training_ways.py ORDER`.

ORDER is JSON: `way` (a key of `WAYS`), `overrides` of chirplet's configuration, `steps`, `seed`, and `judged`, whether
the validation accuracy is wanted. The last line printed is an account in JSON.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZE = 32
SKIPPED = 5
"""Steps at the beginning that no speed is taken from."""


class Clock:
    """When each step ended, and how many texts and tokens it had."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.examples: list[int] = []
        self.tokens: list[int] = []

    def tick(self, examples: int = BATCH_SIZE, tokens: int | None = None) -> None:
        """A step has ended; None: its tokens were not counted, and there is no speed in tokens."""
        self.times.append(time.perf_counter())
        self.examples.append(examples)
        if tokens is not None:
            self.tokens.append(tokens)

    def account(self) -> dict[str, Any]:
        """Speed after the first steps, and what the process has needed."""
        seconds = self.times[-1] - self.times[SKIPPED]
        counts = {"texts_per_s": self.examples} | ({"tokens_per_s": self.tokens} if self.tokens else {})
        return {name: sum(count[SKIPPED + 1 :]) / seconds for name, count in counts.items()} | {"peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def composed(overrides: list[str]) -> Any:
    """chirplet's configuration, bound, and as it was composed."""
    from hydra import compose, initialize_config_dir

    from chirplet.cli.binding import parse

    quiet = ["logger=none", "stage.evaluate_train=false", "stage.evaluate_test=false", "stage.measure_cost=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return parse(compose("config", ["stage=finetune", *quiet, f"stage.batch_size={BATCH_SIZE}", *overrides]))


def prepared(experiment: Any) -> Any:
    """The corpus and its tokens."""
    from chirplet.data.preparation.prepare import prepare
    from chirplet.model.loading.load import load_tokenizer
    from chirplet.stage.run.prepared import Prepared

    cache_dir = Path(experiment.cache_dir).expanduser()
    model = experiment.model
    corpus = prepare(experiment.data, cache_dir)
    return Prepared(corpus, experiment.task, load_tokenizer(model), model.cleaning, model.max_length, cache_dir)


def taught(experiment: Any, data: Any, evaluated: bool) -> Any:
    """The texts that every way trains on: without the validation texts where these judge it."""
    from chirplet.data.preparation.prepare import train_and_val

    return data.corpus.train if evaluated else train_and_val(data.corpus, experiment.data)


def chirplet(overrides: list[str], steps: int, seed: int, evaluated: bool) -> dict[str, Any]:
    """chirplet's fine-tuning for so many steps."""
    import pytorch_lightning as pl

    from chirplet.callback.base import CallbackSettings
    from chirplet.cli.experiment import run_of
    from chirplet.data.batching.batches import text_count

    clock = Clock()

    class Ticking(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            clock.tick(text_count(batch), int(batch["attention_mask"].sum()))

    class Ticks(CallbackSettings):
        def build(self, folder: Path) -> pl.Callback:
            return Ticking()

    with tempfile.TemporaryDirectory() as folder:
        limits = [f"trainer.max_steps={steps}", "trainer.max_epochs=1000", "~callback.early_stopping"]
        if not evaluated:
            limits.append("stage.final=true")
        experiment = composed([*limits, *overrides, f"seed={seed}"])
        callbacks = {name: one for name, one in experiment.callback.items() if name != "checkpoint"}
        own = run_of(experiment, Path(folder), {})
        run = replace(own, loggers={}, callbacks=callbacks | {"clock": Ticks()})
        experiment.stage.run(run)
        record = json.loads((Path(folder) / "artifact" / "artifact.json").read_text())
    account = clock.account()
    if evaluated:
        account["val_accuracy"] = record["metrics"]["val"]["accuracy"]
    return account


def trainer(overrides: list[str], steps: int, seed: int, evaluated: bool, tuned: bool) -> dict[str, Any]:
    """`transformers.Trainer` for so many steps, at its defaults or tuned."""
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainerCallback
    from transformers import set_seed as seed_transformers

    from chirplet.model.loading.bundled import bundled_folder
    from chirplet.runtime.base import predict_logits
    from chirplet.runtime.pytorch import PyTorchRuntime

    clock = Clock()

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    experiment = composed([*overrides, f"seed={seed}"])
    data = prepared(experiment)
    seed_transformers(seed)
    model = AutoModelForSequenceClassification.from_pretrained(bundled_folder(), num_labels=len(data.corpus.labels))
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            arguments_of(experiment, folder, steps, tuned),
            train_dataset=rows_of(data, taught(experiment, data, evaluated)),
            data_collator=DataCollatorWithPadding(data.tokenizer),
            callbacks=[Ticking()],
        ).train()
    account = clock.account()
    if evaluated:
        val = data.corpus.val
        runtime = PyTorchRuntime(model.eval(), bf16=tuned)
        logits = predict_logits(runtime, data.tokens(val), data.pad_id, 64)
        account["val_accuracy"] = float((logits.argmax(1) == val.label).mean())
    return account


def arguments_of(experiment: Any, folder: str, steps: int, tuned: bool) -> Any:
    """The Trainer's arguments: chirplet's optimisation, and of what is for speed the defaults or the best."""
    import torch
    from transformers import TrainingArguments

    better: dict[str, Any] = {}
    if tuned:
        better = {"bf16": True, "optim": "adamw_torch_fused", "train_sampling_strategy": "group_by_length"}
    stage = experiment.stage
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH_SIZE,
        max_steps=steps,
        learning_rate=stage.learning_rate,
        weight_decay=stage.weight_decay,
        warmup_steps=round(stage.warmup_fraction * steps),
        seed=experiment.seed,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **better,
    )


def rows_of(data: Any, train: Any) -> Any:
    """The training texts as the Trainer reads them."""
    from torch.utils.data import Dataset

    tokens = data.tokens(train)

    class Rows(Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(tokens)

        def __getitem__(self, place: int) -> dict[str, Any]:
            ids = tokens[place].tolist()
            return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": int(train.label[place])}

    return Rows()


def floor(overrides: list[str], steps: int, seed: int) -> dict[str, Any]:
    """The matrix products of chirplet's batches alone, forth and back, bf16 where training would take it."""
    import torch
    from transformers import AutoConfig

    from chirplet.data.batching.batches import training_loader
    from chirplet.model.fast_forward.packing import Packed
    from chirplet.model.loading.bundled import bundled_folder
    from chirplet.system.hardware import bf16_is_native, keep_freed_memory

    keep_freed_memory()
    experiment = composed([*overrides, f"seed={seed}"])
    data = prepared(experiment)
    config = AutoConfig.from_pretrained(bundled_folder())
    train, trainer = taught(experiment, data, evaluated=False), experiment.trainer
    loader = training_loader(
        data.tokens(train), train.label, data.pad_id, BATCH_SIZE, seed, trainer.pool_batches, trainer.pad_to_multiple_of
    )
    masks = [batch["attention_mask"] for batch, _ in zip(loader, range(steps), strict=False)]
    shapes = [(*mask.shape, len(Packed(mask).positions())) for mask in masks]
    dtype = torch.bfloat16 if bf16_is_native(torch.device("cpu")) else torch.float32
    account = {}
    for name, own in {"whole": False, "own": True}.items():
        clock = Clock()
        step = {shape: products(shape, config, dtype, own) for shape in set(shapes)}
        for shape in set(shapes):
            step[shape]()
        clock.tick()
        for shape in shapes:
            step[shape]()
            clock.tick()
        account[name] = clock.account()["texts_per_s"]
    return account


def products(shape: tuple[int, int, int], config: Any, dtype: Any, own: bool) -> Callable[[], None]:
    """A function that multiplies what one step multiplies on a batch of (texts, tokens, rows when packed).

    All of the model on the padded batch; `own`: what chirplet computes of it, without padding but in attention, and the
    last layer for the first token alone.
    """
    import torch

    rows, tokens, packed = shape
    everywhere = packed if own else rows * tokens
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
        if own and layer == layers - 1:
            linear(everywhere, width, 2 * width)
            linear(rows, width, width)
            attention(1)
            count = rows
        else:
            linear(everywhere, width, 3 * width)
            attention(tokens)
            count = everywhere
        linear(count, width, width)
        linear(count, width, wide)
        linear(count, wide, width)

    def step() -> None:
        for left, right, batched in calls:
            torch.bmm(left, right) if batched else torch.mm(left, right)

    return step


def tokens(overrides: list[str], steps: int, seed: int, evaluated: bool) -> dict[str, Any]:
    """Seconds in which the texts are read, cleaned and tokenised, and from the cache."""
    from transformers import AutoTokenizer

    import chirplet.stage.output.write_artifact  # noqa: F401 - what is imported is no part of the work
    from chirplet.model.loading.bundled import bundled_folder

    experiment = composed([*overrides, f"seed={seed}"])
    AutoTokenizer.from_pretrained(bundled_folder())
    started = time.perf_counter()
    data = prepared(experiment)
    count = sum(len(data.tokens(getattr(data.corpus, split))) for split in ("train", "val", "test"))
    return {"seconds": time.perf_counter() - started, "texts": count}


WAYS: dict[str, Callable[[list[str], int, int, bool], dict[str, Any]]] = {
    "trainer": lambda overrides, steps, seed, evaluated: trainer(overrides, steps, seed, evaluated, tuned=False),
    "tuned trainer": lambda overrides, steps, seed, evaluated: trainer(overrides, steps, seed, evaluated, tuned=True),
    "chirplet": chirplet,
    "floor": lambda overrides, steps, seed, evaluated: floor(overrides, steps, seed),
    "tokens": tokens,
}


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(WAYS[order["way"]](order["overrides"], order["steps"], order["seed"], order["judged"])))
