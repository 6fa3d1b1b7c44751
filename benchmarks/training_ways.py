"""The training methods that `train_speed.py` compares, each in a separate process: `python training_ways.py ORDER`.

ORDER is JSON: `method` (a key of `METHODS`), `overrides` of chirplet's configuration, `steps`, `seed`, and `evaluated`,
whether to measure the validation accuracy. The last line printed is a JSON object with the results.
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

from matrix_products import products

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZE = 32
SKIPPED = 5
"""Warm-up steps that are not timed."""


class Clock:
    """The end of each step, and its numbers of texts and tokens."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.examples: list[int] = []
        self.tokens: list[int] = []

    def tick(self, examples: int = BATCH_SIZE, tokens: int | None = None) -> None:
        """Record the end of a step; without `tokens` there is no speed in tokens."""
        self.times.append(time.perf_counter())
        self.examples.append(examples)
        if tokens is not None:
            self.tokens.append(tokens)

    def results(self) -> dict[str, Any]:
        """Speed after the warm-up steps, and peak memory."""
        seconds = self.times[-1] - self.times[SKIPPED]
        counts = {"texts_per_s": self.examples} | ({"tokens_per_s": self.tokens} if self.tokens else {})
        return {name: sum(count[SKIPPED + 1 :]) / seconds for name, count in counts.items()} | {"peak_mb": peak_mb()}


def peak_mb() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def composed(overrides: list[str]) -> Any:
    """chirplet's configuration, composed and validated."""
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


def training_texts(experiment: Any, data: Any, evaluated: bool) -> Any:
    """The texts that every method trains on, without the validation texts if those are used to evaluate it."""
    from chirplet.data.preparation.prepare import train_and_val

    return data.corpus.train if evaluated else train_and_val(data.corpus, experiment.data)


def chirplet(overrides: list[str], steps: int, seed: int, evaluated: bool) -> dict[str, Any]:
    """Fine-tune with chirplet for `steps` steps."""
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
        base = run_of(experiment, Path(folder), {"trainer": {}})
        run = replace(base, loggers={}, callbacks=callbacks | {"clock": Ticks()})
        experiment.stage.run(run)
        record = json.loads((Path(folder) / "artifact" / "artifact.json").read_text())
    results = clock.results()
    if evaluated:
        results["val_accuracy"] = record["metrics"]["val"]["accuracy"]
    return results


def trainer(overrides: list[str], steps: int, seed: int, evaluated: bool, tuned: bool) -> dict[str, Any]:
    """Train with `transformers.Trainer` for `steps` steps, with its defaults or tuned."""
    import torch
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainerCallback
    from transformers import set_seed as seed_transformers

    from chirplet.model.loading.checkpoint import checkpoint_folder
    from chirplet.runtime.base import predict_logits
    from chirplet.runtime.pytorch import PyTorchRuntime

    clock = Clock()

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    experiment = composed([*overrides, f"seed={seed}"])
    data = prepared(experiment)
    seed_transformers(seed)
    checkpoint = checkpoint_folder(experiment.model)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=len(data.corpus.labels))
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            arguments_of(experiment, folder, steps, tuned),
            train_dataset=rows_of(data, training_texts(experiment, data, evaluated)),
            data_collator=DataCollatorWithPadding(data.tokenizer),
            callbacks=[Ticking()],
        ).train()
    results = clock.results()
    if evaluated:
        val = data.corpus.val
        runtime = PyTorchRuntime(model.eval(), torch.bfloat16 if tuned else None)
        logits = predict_logits(runtime, data.tokens(val), data.pad_id, 64)
        results["val_accuracy"] = float((logits.argmax(1) == val.label).mean())
    return results


def arguments_of(experiment: Any, folder: str, steps: int, tuned: bool) -> Any:
    """The Trainer's arguments: chirplet's optimizer settings, with default or tuned speed settings."""
    import torch
    from transformers import TrainingArguments

    speed: dict[str, Any] = {}
    if tuned:
        speed = {"bf16": True, "optim": "adamw_torch_fused", "train_sampling_strategy": "group_by_length"}
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
        **speed,
    )


def rows_of(data: Any, train: Any) -> Any:
    """The training texts as a data set for the Trainer."""
    from torch.utils.data import Dataset

    tokens = data.tokens(train)

    class Rows(Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(tokens)

        def __getitem__(self, index: int) -> dict[str, Any]:
            ids = tokens[index].tolist()
            return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": int(train.label[index])}

    return Rows()


def floor(overrides: list[str], steps: int, seed: int) -> dict[str, Any]:
    """Only the matrix products of chirplet's batches, forward and backward, in bf16 if training would use it."""
    import torch
    from transformers import AutoConfig

    from chirplet.data.batching.batches import training_loader
    from chirplet.model.fast_forward.packing import Packed
    from chirplet.model.loading.checkpoint import checkpoint_folder
    from chirplet.system.hardware import bf16_is_native, keep_freed_memory

    keep_freed_memory()
    experiment = composed([*overrides, f"seed={seed}"])
    data = prepared(experiment)
    config = AutoConfig.from_pretrained(checkpoint_folder(experiment.model))
    train, trainer = training_texts(experiment, data, evaluated=False), experiment.trainer
    loader = training_loader(
        data.tokens(train), train.label, data.pad_id, BATCH_SIZE, seed, trainer.pool_batches, trainer.pad_to_multiple_of
    )
    masks = [batch["attention_mask"] for batch, _ in zip(loader, range(steps), strict=False)]
    shapes = [(*mask.shape, len(Packed(mask).positions())) for mask in masks]
    dtype = torch.bfloat16 if bf16_is_native(torch.device("cpu")) else torch.float32
    results = {}
    for name, reduced in {"whole": False, "own": True}.items():
        clock = Clock()
        step = {shape: products(shape, config, dtype, reduced) for shape in set(shapes)}
        for shape in set(shapes):
            step[shape]()
        clock.tick()
        for shape in shapes:
            step[shape]()
            clock.tick()
        results[name] = clock.results()["texts_per_s"]
    return results


def tokens(overrides: list[str], steps: int, seed: int, evaluated: bool) -> dict[str, Any]:
    """Seconds to read, clean and tokenise the texts, or to load them from the cache."""
    from transformers import AutoTokenizer

    import chirplet.stage.output.write_artifact  # noqa: F401 - imports are not timed
    from chirplet.model.loading.checkpoint import checkpoint_folder

    experiment = composed([*overrides, f"seed={seed}"])
    AutoTokenizer.from_pretrained(checkpoint_folder(experiment.model))
    started = time.perf_counter()
    data = prepared(experiment)
    count = sum(len(data.tokens(getattr(data.corpus, split))) for split in ("train", "val", "test"))
    return {"seconds": time.perf_counter() - started, "texts": count}


METHODS: dict[str, Callable[[list[str], int, int, bool], dict[str, Any]]] = {
    "trainer": lambda overrides, steps, seed, evaluated: trainer(overrides, steps, seed, evaluated, tuned=False),
    "tuned trainer": lambda overrides, steps, seed, evaluated: trainer(overrides, steps, seed, evaluated, tuned=True),
    "chirplet": chirplet,
    "floor": lambda overrides, steps, seed, evaluated: floor(overrides, steps, seed),
    "tokens": tokens,
}


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(METHODS[order["method"]](order["overrides"], order["steps"], order["seed"], order["evaluated"])))
