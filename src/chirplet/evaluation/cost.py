"""Cost of a saved model: parameters, bytes, latency and throughput.

Parameters and bytes are counted in the artifact's files. Speed is measured in a new process that opens the saved folder
(`chirplet.evaluation.isolated_process`), never with a model in memory.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from chirplet.artifact.artifact import CARD, PROBE, RECORD
from chirplet.artifact.predictions import BASELINE_PREDICTIONS, PREDICTIONS
from chirplet.data.batching.tokens import Tokens
from chirplet.evaluation import isolated_process as fresh
from chirplet.evaluation.parameter_count import count_parameters
from chirplet.runtime.open import accelerator_for
from chirplet.system.hardware import device_of
from chirplet.system.progress import Progress

UNUSED = (RECORD, PREDICTIONS, BASELINE_PREDICTIONS, CARD, PROBE)
"""Files of an artifact that are not needed to run its model."""

SAMPLE_TEXTS = 1024
"""Maximum number of timed texts, sampled evenly in length order, so that lengths are distributed as in the split."""

ROUNDS = 3
"""Rounds in which two models are timed, interleaved."""

Timing = dict[str, Any]


def measure(
    folder: Path,
    tokens: Tokens,
    pad_id: int,
    threads: int | None,
    accelerator: str = "cpu",
    compared_with: Path | None = None,
) -> dict[str, Any]:
    """All costs of the artifact in `folder`, and of `compared_with` if given, timed interleaved.

    Both are timed on the CPU, and on a GPU if that is `accelerator` and the artifact in `folder` can run there.

    Returns:
        `params_total`, `params_nonzero`, `params_packed` (one per stored number, also of 8 bits), `bytes_on_disk` and
        `bytes_compressed` (zstd) of the files that the model needs, `latency_ms` (`p50`, `p95`; batch 1),
        `texts_per_s` (batch 32, length order), `threads`, `runtime`, `precision`, `device`, `texts_timed`. `gpu` holds
        the last six on the GPU. With `compared_with`, this key holds the other's values and the ratios of speed, on the
        CPU, and size.

    Raises:
        ArtifactError: the new process could not open or run a model.
    """
    accelerators = timed_on(folder, accelerator)
    model = Timed(folder, tokens, pad_id, accelerators)
    if compared_with is None:
        (timing,) = time_interleaved([model], threads, rounds=1)
        return count_parameters(folder) | count_bytes(folder) | timing
    models = [model, Timed(compared_with, tokens, pad_id, accelerators)]
    timing, other = time_interleaved(models, threads, rounds=ROUNDS)
    cost: dict[str, Any] = count_parameters(folder) | count_bytes(folder) | timing
    other |= count_bytes(compared_with)
    ratios = {
        "times_texts_per_s": cost["texts_per_s"] / other["texts_per_s"],
        "times_latency": cost["latency_ms"]["p50"] / other["latency_ms"]["p50"],
        "times_bytes": cost["bytes_on_disk"] / other["bytes_on_disk"],
    }
    return cost | {"compared_with": other | ratios}


def timed_on(folder: Path, accelerator: str) -> tuple[str, ...]:
    """The CPU, then `accelerator` if it is a GPU here and the model in `folder` can run there.

    Raises:
        ConfigError: the accelerator is not available.
    """
    wanted = accelerator_for(folder, accelerator)
    return ("cpu",) if wanted == "cpu" or device_of(wanted).type == "cpu" else ("cpu", wanted)


def count_bytes(folder: Path) -> dict[str, int]:
    """Size of the files that the model needs, on disk and compressed with zstd."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in UNUSED]
    contents = (path.read_bytes() for path in files)
    compressed = sum(len(pa.compress(content, codec="zstd", asbytes=True)) for content in contents if content)
    return {"bytes_on_disk": sum(path.stat().st_size for path in files), "bytes_compressed": compressed}


@dataclass(frozen=True)
class Timed:
    """A saved model to time, the texts in its tokens, and the accelerators: the CPU, and a GPU if it is timed too."""

    folder: Path
    tokens: Tokens
    pad_id: int
    accelerators: tuple[str, ...] = ("cpu",)


def time_interleaved(models: Sequence[Timed], threads: int | None, rounds: int, verify: bool = True) -> list[Timing]:
    """Latency and throughput of each saved model on a sample of its texts, as medians of the rounds; `gpu` on a GPU.

    In each round every model is timed in a new process, one after the other, so that a slow moment of the machine does
    not affect one model only.

    Raises:
        ArtifactError: a new process could not open or run its model.
    """
    samples = [_sample(model.tokens) for model in models]
    measured: list[list[Timing]] = [[] for _ in models]
    each = list(zip(models, samples, measured, strict=True)) * rounds
    with Progress("measuring speed", len(each), "measurements") as progress:
        for model, sample, timings in progress(each):
            settings = fresh.settings(model.pad_id, model.accelerators, threads, verify)
            line = fresh.run(model.folder, {"sample": sample}, *settings, "--time")
            cpu, *gpu = (each["sample"] for each in json.loads(line))
            timings.append(cpu | {"gpu": gpu[0]} if gpu else cpu)
    return [_median(timings) for timings in measured]


def _median(timings: list[Timing]) -> Timing:
    result = dict(timings[0])
    result["texts_per_s"] = median(timing["texts_per_s"] for timing in timings)
    result["latency_ms"] = {name: median(timing["latency_ms"][name] for timing in timings) for name in ("p50", "p95")}
    return result | ({"gpu": _median([timing["gpu"] for timing in timings])} if "gpu" in result else {})


def _sample(tokens: Tokens) -> Tokens:
    order = np.argsort(tokens.lengths, kind="stable")
    if len(order) > SAMPLE_TEXTS:
        order = order[np.linspace(0, len(order) - 1, SAMPLE_TEXTS).round().astype(int)]
    rows = [tokens[int(position)] for position in order]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Tokens(np.concatenate(rows), offsets.astype(np.int64))
