"""The measurements of `gpu.py`, one after the other in a separate process: `python gpu_ways.py ORDERS RESULTS`.

ORDERS is a JSON list: each has `way` (a key of `WAYS`), `overrides` of chirplet's configuration, `steps` to time after
`skipped` ones, and what else the way takes. A line of JSON with the results of each is added to the file RESULTS.
"""

import gc
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_loop
from gpu_inference import inference
from training_ways import composed, prepared, rows_of, training_texts

TUNED = {"optim": "adamw_torch_fused", "train_sampling_strategy": "group_by_length", "logging_nan_inf_filter": False}
"""Of all Trainers but the defaults, with lengths padded to multiples of 16 and chirplet's dropout. The filter waits for
the device in each step."""
TRAINERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "bf16": {"bf16": True, **TUNED},
    "bf16, without cuDNN's attention": {"bf16": True, "cudnn": False, **TUNED},
    "bf16, eager": {"bf16": True, "attention": "eager", **TUNED},
    "bf16, eager, 4 workers": {"bf16": True, "attention": "eager", "dataloader_num_workers": 4, **TUNED},
    "bf16, compiled": {"bf16": True, "attention": "eager", "torch_compile": True, **TUNED},
}
"""Settings of `transformers.Trainer`."""
PART = 50
"""Steps of a part; the rate is the median of the parts, since one may have a late capture, or compile for a new length.
The Trainer's batches get shorter for 50 steps, then begin anew."""


def on_gpu() -> bool:
    """Whether torch finds a GPU."""
    import torch

    return torch.cuda.is_available()


class Timer:
    """Texts/s of the `steps` after `skipped` ones: the median of parts. Each ends when the device has computed it."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.skipped, self.end = order["skipped"], order["skipped"] + order["steps"]
        self.each = min(order["steps"], PART)
        self.done = self.texts = 0
        self.marks: list[tuple[float, int]] = []

    def tick(self, texts: int) -> None:
        """Record the end of a step with so many texts."""
        self.done += 1
        self.texts += texts
        if self.skipped <= self.done <= self.end and (self.done - self.skipped) % self.each == 0:
            self.marks.append((waited(), self.texts))

    def results(self) -> dict[str, Any]:
        """The rate, and the peak memory of the device."""
        import torch

        pairs = zip(self.marks, self.marks[1:], strict=False)
        rate = statistics.median((texts - before) / (end - start) for (start, before), (end, texts) in pairs)
        memory = {"peak_mb": torch.cuda.max_memory_reserved() / 2**20} if on_gpu() else {}
        return {"texts_per_s": rate, **memory}


def waited() -> float:
    """The time when the device has done all that was asked."""
    import torch

    if on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter()


class _AllTimed(Exception):
    """Ends a run whose artifact nobody needs."""


class Watch:
    """What is seen of a training: the time of its steps, captured lengths, and operations that wait for the device."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.timer = Timer(order)
        self.lengths: list[int] | None = None
        self.waits: list[str] = []

    def results(self) -> dict[str, Any]:
        """All of it, as far as the training went."""
        rate = self.timer.results() if len(self.timer.marks) > 1 else {}
        return rate | {"steps": self.timer.done, "lengths": self.lengths, "waits": len(self.waits)}


def chirplet(order: dict[str, Any]) -> dict[str, Any]:
    """Train with chirplet, and time the steps.

    With a `folder` the run is finished there; else it is left after the last step. At step `halt` the process sends
    itself SIGTERM. With `strict`, operations that wait for the device between two logged steps are counted.
    """
    from chirplet.cli.experiment import run_of
    from chirplet.system.error import Interrupted
    from chirplet.system.hashing import file_hash

    limits = [f"trainer.max_steps={order['skipped'] + order['steps']}", "trainer.max_epochs=1000"]
    experiment = composed([*limits, "callback=none", "trainer.limit_val_batches=2", *order["overrides"]])
    watch = Watch(order)
    folder = Path(order.get("folder") or tempfile.mkdtemp(dir=order["scratch"]))
    run = run_of(experiment, folder, {"trainer": {}})
    run = replace(run, loggers={}, callbacks={"clock": _clock(order, watch)})
    with suppress(_AllTimed, Interrupted), recorded(watch.waits):
        experiment.stage.run(run)
    weights = folder / "artifact" / "model.safetensors"
    found = {"first_waits": watch.waits[:3]} | ({"weights": file_hash(weights)} if weights.is_file() else {})
    return watch.results() | found


def _clock(order: dict[str, Any], watch: Watch) -> Any:
    """A callback for `watch`."""
    import pytorch_lightning as pl

    from chirplet.callback.base import CallbackSettings
    from chirplet.data.batching.batches import text_count

    timer = watch.timer

    class Ticking(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            watched(False)
            timer.tick(text_count(batch))
            watch.lengths = None if module.captured is None else module.captured.lengths
            if timer.done == order.get("halt"):
                os.kill(os.getpid(), signal.SIGTERM)
            if timer.done == timer.end and "folder" not in order:
                raise _AllTimed
            logs = (trainer.global_step + 1) % trainer.log_every_n_steps == 0
            # The end of an epoch logs too, and after the last step the weights are saved.
            if order.get("strict") and timer.skipped <= timer.done < timer.end and not (logs or trainer.is_last_batch):
                watched(True)

    class Clock(CallbackSettings):
        def build(self, folder: Path) -> pl.Callback:
            return Ticking()

    return Clock()


def watched(on: bool) -> None:
    """Warn, or do not warn, of operations that wait for the device."""
    import torch

    if on_gpu():
        torch.cuda.set_sync_debug_mode("warn" if on else "default")


@contextmanager
def recorded(found: list[str]) -> Iterator[None]:
    """Add the place of each warning of an operation that waits to `found`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=".*synchronizing CUDA operation.*")
        try:
            yield
        finally:
            found += [f"{one.filename}:{one.lineno}" for one in caught if "synchronizing CUDA" in str(one.message)]


def loop(order: dict[str, Any]) -> dict[str, Any]:
    """Train with the bare loop, on chirplet's batches and a model of the same sizes."""
    import torch
    from transformers import AutoConfig

    from chirplet.data.batching.batches import LengthGrouped
    from chirplet.data.batching.padding import few_lengths
    from chirplet.model.family import family_of
    from chirplet.model.loading.checkpoint import checkpoint_folder

    experiment = composed(order["overrides"])
    data, size = prepared(experiment), experiment.stage.batch_size
    texts = training_texts(experiment, data, evaluated=False)
    tokens = data.tokens(texts)
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
    sampler = LengthGrouped(tokens.lengths, size, experiment.seed, experiment.trainer.pool_batches)
    source = gpu_loop.batches(tokens, texts.label, sampler, lambda longest: few_lengths(longest, data.max_length))
    timer = Timer(order)
    gpu_loop.train(model, source, size, timer.end, device, timer.tick)
    return timer.results()


def trainer(order: dict[str, Any]) -> dict[str, Any]:
    """Train with `transformers.Trainer` in one of `TRAINERS`' settings."""
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from chirplet.model.family import family_of
    from chirplet.model.loading.checkpoint import checkpoint_folder

    settings = dict(TRAINERS[order["settings"]])
    attention, tuned = settings.pop("attention", "sdpa"), bool(settings)
    torch.backends.cuda.enable_cudnn_sdp(settings.pop("cudnn", True))
    experiment = composed(order["overrides"])
    data, stage = prepared(experiment), experiment.stage
    timer = Timer(order)

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            timer.tick(stage.batch_size)

    torch.manual_seed(0)
    checkpoint, ours = checkpoint_folder(experiment.model), experiment.model
    config = AutoConfig.from_pretrained(checkpoint)
    rates = family_of(config).dropout_changes(config, ours.dropout, ours.classifier_dropout) if tuned else {}
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint,
        num_labels=len(data.corpus.labels),
        attn_implementation=attention,
        dtype=torch.float32,
        **rates,
    )
    arguments = TrainingArguments(
        output_dir=order["scratch"],
        per_device_train_batch_size=stage.batch_size,
        max_steps=timer.end,
        learning_rate=stage.learning_rate,
        use_cpu=not on_gpu(),
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    Trainer(
        model,
        arguments,
        train_dataset=rows_of(data, training_texts(experiment, data, evaluated=False)),
        data_collator=DataCollatorWithPadding(data.tokenizer, pad_to_multiple_of=16 if tuned else None),
        callbacks=[Ticking()],
    ).train()
    return timer.results()


WAYS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "chirplet": chirplet,
    "loop": loop,
    "trainer": trainer,
    "inference": inference,
}


def main() -> None:
    """Carry out the orders, each on an empty device, up to the first that fails."""
    import torch

    for order in json.loads(sys.argv[1]):
        fault = None
        try:
            results = WAYS[order["way"]](order)
        except Exception as error:
            traceback.print_exc()
            fault, results = error, {"failed": repr(error)[:300]}
        with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(results) + "\n")
        if fault is not None:
            sys.exit(1)
        gc.collect()
        if on_gpu():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
