"""The measurements of `gpu.py`, each in a separate process: `python gpu_ways.py ORDER`.

ORDER is JSON: `way` (a key of `WAYS`), `overrides` of chirplet's configuration, `steps` to time after `skipped` ones,
and what else the way takes. The last line printed is a JSON object with the results.
"""

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_loop
from gpu_inference import inference
from training_ways import composed, peak_mb, prepared, rows_of, training_texts

TRAINERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "bf16": {"bf16": True},
    "bf16, without cuDNN's attention": {"bf16": True, "cudnn": False},
    "bf16, eager": {"bf16": True, "attention": "eager"},
    "bf16, compiled": {"bf16": True, "attention": "eager", "torch_compile": True},
}
"""Settings of `transformers.Trainer`. All but the defaults have fused AdamW, batches grouped by length, and lengths
padded to multiples of 16."""


def on_gpu() -> bool:
    """Whether torch finds a GPU."""
    import torch

    return torch.cuda.is_available()


class Timer:
    """Texts/s from the end of step `skipped` to that of the last, when the device has computed them."""

    def __init__(self, batch_size: int, skipped: int, steps: int) -> None:
        self.batch_size, self.skipped, self.steps = batch_size, skipped, steps
        self.done = 0
        self.started = self.ended = 0.0

    def tick(self) -> None:
        """Record the end of a step."""
        self.done += 1
        if self.done == self.skipped:
            self.started = waited()
        if self.done == self.skipped + self.steps:
            self.ended = waited()

    def results(self) -> dict[str, Any]:
        """The rate, and the peak memory of the device, or of the process without one."""
        import torch

        memory = torch.cuda.max_memory_reserved() / 2**20 if on_gpu() else peak_mb()
        return {"texts_per_s": self.steps * self.batch_size / (self.ended - self.started), "peak_mb": memory}


def waited() -> float:
    """The time when the device has done all that was asked."""
    import torch

    if on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter()


def chirplet(order: dict[str, Any]) -> dict[str, Any]:
    """Train with chirplet, and time the steps."""
    return trained(order, strict=False)


def waits(order: dict[str, Any]) -> dict[str, Any]:
    """Train with chirplet, and count operations that wait for the device between two logged steps."""
    return trained(order, strict=True)


def trained(order: dict[str, Any], strict: bool) -> dict[str, Any]:
    """Rate, memory and captured lengths; if `strict`, also what waits for the device."""
    import pytorch_lightning as pl

    from chirplet.callback.base import CallbackSettings
    from chirplet.cli.experiment import run_of

    experiment = composed([*order["overrides"], f"trainer.max_steps={order['skipped'] + order['steps']}", *ENDLESS])
    timer = Timer(experiment.stage.batch_size, order["skipped"], order["steps"])
    found: list[str] = []

    class Ticking(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            watch = strict and on_gpu()
            if watch:
                watched(False)
            timer.tick()
            logged = (trainer.global_step + 1) % trainer.log_every_n_steps == 0
            if watch and timer.done >= timer.skipped and not logged:
                watched(True)

    class Ticks(CallbackSettings):
        def build(self, folder: Path) -> pl.Callback:
            return Ticking()

    with tempfile.TemporaryDirectory() as folder, recorded(found):
        callbacks = {name: one for name, one in experiment.callback.items() if name != "checkpoint"}
        run = replace(run_of(experiment, Path(folder), {"trainer": {}}), loggers={})
        experiment.stage.run(replace(run, callbacks=callbacks | {"clock": Ticks()}))
        record = json.loads((Path(folder) / "artifact" / "artifact.json").read_text())
    graphs = record["training"].get("cuda_graphs")
    return timer.results() | {"waits": len(found), "first_wait": found[:1], "cuda_graphs": graphs}


ENDLESS = ["trainer.max_epochs=1000", "~callback.early_stopping", "stage.final=true"]


def watched(on: bool) -> None:
    """Warn, or do not warn, of operations that wait for the device."""
    import torch

    torch.cuda.set_sync_debug_mode("warn" if on else "default")


@contextmanager
def recorded(found: list[str]) -> Iterator[None]:
    """Add the text of each warning of an operation that waits to `found`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=".*synchronizing CUDA operation.*")
        yield
    found += [f"{one.filename}:{one.lineno}" for one in caught if "synchronizing CUDA" in str(one.message)]


def loop(order: dict[str, Any]) -> dict[str, Any]:
    """Train with the bare loop, on a model of the same sizes."""
    import torch
    from transformers import AutoConfig

    from chirplet.data.batching.padding import few_lengths
    from chirplet.model.family import family_of
    from chirplet.model.loading.checkpoint import checkpoint_folder

    experiment = composed(order["overrides"])
    data, size = prepared(experiment), experiment.stage.batch_size
    texts = training_texts(experiment, data, evaluated=False)
    config = AutoConfig.from_pretrained(checkpoint_folder(experiment.model))
    sizes = family_of(config).sizes(config)
    torch.manual_seed(0)
    model = gpu_loop.Classifier(
        config.vocab_size,
        config.max_position_embeddings,
        sizes.hidden_size,
        sizes.heads,
        sizes.intermediate_size,
        sizes.layers,
        len(data.corpus.labels),
    )
    device = torch.device("cuda" if on_gpu() else "cpu")
    source = gpu_loop.batches(
        data.tokens(texts), texts.label, size, lambda longest: few_lengths(longest, data.max_length)
    )
    return {"texts_per_s": gpu_loop.train(model, source, size, order["skipped"], order["steps"], device)}


def trainer(order: dict[str, Any]) -> dict[str, Any]:
    """Train with `transformers.Trainer` in one of `TRAINERS`' settings."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from chirplet.model.loading.checkpoint import checkpoint_folder

    settings = dict(TRAINERS[order["settings"]])
    attention = settings.pop("attention", "sdpa")
    torch.backends.cuda.enable_cudnn_sdp(settings.pop("cudnn", True))
    tuned: dict[str, Any] = (
        {"optim": "adamw_torch_fused", "train_sampling_strategy": "group_by_length"} if settings else {}
    )
    experiment = composed(order["overrides"])
    data, stage = prepared(experiment), experiment.stage
    timer = Timer(stage.batch_size, order["skipped"], order["steps"])

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            timer.tick()

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint_folder(experiment.model), num_labels=len(data.corpus.labels), attn_implementation=attention
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=stage.batch_size,
            max_steps=order["skipped"] + order["steps"],
            learning_rate=stage.learning_rate,
            use_cpu=not on_gpu(),
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            **tuned,
            **settings,
        )
        Trainer(
            model,
            arguments,
            train_dataset=rows_of(data, training_texts(experiment, data, evaluated=False)),
            data_collator=DataCollatorWithPadding(data.tokenizer, pad_to_multiple_of=16 if settings else None),
            callbacks=[Ticking()],
        ).train()
    return timer.results()


WAYS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "chirplet": chirplet,
    "waits": waits,
    "loop": loop,
    "trainer": trainer,
    "inference": inference,
}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(WAYS[asked["way"]](asked)))
