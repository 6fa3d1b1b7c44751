"""Inference on a GPU: chirplet's runtime, and the same model by transformers, one batch after the other.

A part of `gpu.py`, measured in a process by `gpu_ways.py`.
"""

import statistics
import time
from copy import deepcopy
from typing import Any

import numpy as np
from measuring import Figures, figure
from training_ways import composed, prepared, training_texts

BATCHES = (32, 256)
SINGLES = 100
ROUNDS = 2


def inference(order: dict[str, Any]) -> dict[str, Any]:
    """Rates and latencies of 32 texts for each step of the order, of all ways, as medians of interleaved rounds.

    `same_labels` is the share of texts on which chirplet agrees with fp32, `shapes` what was captured.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from chirplet.model.loading.checkpoint import checkpoint_folder
    from chirplet.runtime.base import predict_logits
    from chirplet.runtime.pytorch import HALF, PyTorchRuntime
    from chirplet.system.hardware import automatic_precision

    experiment = composed(order["overrides"])
    data = prepared(experiment)
    texts = training_texts(experiment, data, evaluated=False)
    tokens = data.tokens(texts.take(np.arange(min(32 * order["steps"], len(texts)))))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint_folder(experiment.model), num_labels=len(data.corpus.labels), dtype=torch.float32
    )
    model.to(device).eval()
    half = HALF.get(automatic_precision(device))
    captured = PyTorchRuntime(model, half)
    captured.queue = captured.queue or captured.device_queue()  # without a GPU, what it would compute
    ways = {f"chirplet in {captured.precision}": captured}
    for weights in (deepcopy(model).to(half or torch.float32), model):
        runtime = PyTorchRuntime(weights)
        runtime.queue = None
        ways[f"transformers in {runtime.precision}"] = runtime
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    logits = {}
    for lap in range(ROUNDS + 1):  # the first is the warm-up
        for name, runtime in ways.items():
            measured = {"ms": latency_ms(runtime, tokens, data.pad_id)}
            for size in BATCHES:
                started = time.perf_counter()
                logits[name] = predict_logits(runtime, tokens, data.pad_id, size)
                measured[f"texts/s, batch {size}"] = len(tokens) / (time.perf_counter() - started)
            if lap:
                for what, value in measured.items():
                    rows[name].setdefault(what, []).append(value)
    first, *_, last = (each.argmax(1) for each in logits.values())
    return {
        "ways": {name: {what: statistics.median(each) for what, each in row.items()} for name, row in rows.items()},
        "same_labels": float((first == last).mean()),
        "texts": len(tokens),
        "shapes": len(captured.queue.shapes),
    }


def latency_ms(runtime: Any, tokens: Any, pad_id: int) -> float:
    """Median milliseconds of one text."""
    from chirplet.data.batching.padding import padded

    durations = []
    for position in np.linspace(0, len(tokens) - 1, min(SINGLES, len(tokens))).round().astype(int):
        single = padded(tokens, [int(position)], pad_id)
        started = time.perf_counter()
        runtime.logits(*single)
        durations.append(1000 * (time.perf_counter() - started))
    return statistics.median(durations)


def inference_figures(name: str, results: dict[str, Any]) -> Figures:
    """Figures of the results of `inference` for one model."""
    if "failed" in results:
        return [figure(f"{name}, inference", 0.0, "texts/s") | {"holds": False}]
    figures: Figures = []
    for way, row in results["ways"].items():
        label = f"{name}, inference by {way}"
        figures += [figure(f"{label}, batch {size}", row[f"texts/s, batch {size}"], "texts/s") for size in BATCHES]
        figures.append(figure(f"{label}, one text", row["ms"], "ms"))
    return [*figures, figure(f"{name}, inference: same labels", results["same_labels"], "share")]
