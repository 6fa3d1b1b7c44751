"""What a saved model costs: parameters, bytes, latency, throughput.

Counts are read from the artifact's files. Times are taken in a fresh process that opens the saved folder
(`chirplet.evaluation.isolated_process`), never from an object still in memory.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from chirplet.artifact.artifact import BASELINE_PREDICTIONS, CARD, PREDICTIONS, PROBE, RECORD
from chirplet.data.batching.tokens import Tokens
from chirplet.evaluation import isolated_process as fresh
from chirplet.evaluation.parameter_count import count_parameters
from chirplet.runtime.open import accelerator_for

UNUSED = (RECORD, PREDICTIONS, BASELINE_PREDICTIONS, CARD, PROBE)
"""Files of an artifact that are not needed to run its model."""

SAMPLE_TEXTS = 1024
"""Texts timed at most; taken evenly over the split in length order, so lengths are distributed as in the split."""

ROUNDS = 3
"""Turns that two models take."""

Timing = dict[str, Any]


def measure(
    folder: Path,
    tokens: Tokens,
    pad_id: int,
    threads: int | None,
    accelerator: str = "cpu",
    compared_with: Path | None = None,
) -> dict[str, Any]:
    """Every cost of the artifact at `folder`; where `beside` is another, also that one's, interleaved.

    Both are timed on `accelerator` where the runtime of the one at `folder` has it, else on the CPU.

    Returns:
        `params_total`, `params_nonzero`, `params_packed` (one for each stored number, also of 8 bits), `bytes_on_disk`
        and `bytes_compressed` (zstd) of what is needed to run the model, `latency_ms` (`p50`, `p95`; batch 1),
        `texts_per_s` (batch 32, length order), `threads`, `runtime`, `precision`, `device`, `texts_timed`; the same
        of the other, and how many times as fast and as large this one is, as `beside`.

    Raises:
        ArtifactError: the fresh process could not open or run the model.
    """
    accelerator = accelerator_for(folder, accelerator)
    itself = Timed(folder, tokens, pad_id, accelerator)
    if compared_with is None:
        (timing,) = time_interleaved([itself], threads, rounds=1)
        return count_parameters(folder) | count_bytes(folder) | timing
    timing, other = time_interleaved(
        [itself, Timed(compared_with, tokens, pad_id, accelerator)], threads, rounds=ROUNDS
    )
    own: dict[str, Any] = count_parameters(folder) | count_bytes(folder) | timing
    other |= count_bytes(compared_with)
    compared = {
        "times_texts_per_s": own["texts_per_s"] / other["texts_per_s"],
        "times_latency": own["latency_ms"]["p50"] / other["latency_ms"]["p50"],
        "times_bytes": own["bytes_on_disk"] / other["bytes_on_disk"],
    }
    return own | {"compared_with": other | compared}


def count_bytes(folder: Path) -> dict[str, int]:
    """Size of the files that run the model, as they are and compressed with zstd."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in UNUSED]
    contents = (path.read_bytes() for path in files)
    compressed = sum(len(pa.compress(content, codec="zstd", asbytes=True)) for content in contents if content)
    return {"bytes_on_disk": sum(path.stat().st_size for path in files), "bytes_compressed": compressed}


@dataclass(frozen=True)
class Timed:
    """A saved model, texts in tokens of its own to time it on, and the accelerator that it is timed on."""

    folder: Path
    tokens: Tokens
    pad_id: int
    accelerator: str = "cpu"


def time_interleaved(models: Sequence[Timed], threads: int | None, rounds: int, verify: bool = True) -> list[Timing]:
    """Latency and throughput of each saved model on a sample of its tokens.

    Each is timed in a fresh process, one after the other and over again, so that a slow moment of the machine is no
    model's alone; medians of the rounds.

    Raises:
        ArtifactError: a fresh process could not open or run its model.
    """
    samples = [_sample(model.tokens) for model in models]
    found: list[list[Timing]] = [[] for _ in models]
    for _ in range(rounds):
        for model, sample, timings in zip(models, samples, found, strict=True):
            settings = fresh.settings(model.pad_id, model.accelerator, threads, verify)
            output = fresh.run(model.folder, {"sample": sample}, *settings, "--time")
            timings.append(json.loads(output)["sample"])
    return [_median(timings) for timings in found]


def _median(timings: list[Timing]) -> Timing:
    together = dict(timings[0])
    together["texts_per_s"] = median(timing["texts_per_s"] for timing in timings)
    together["latency_ms"] = {name: median(timing["latency_ms"][name] for timing in timings) for name in ("p50", "p95")}
    return together


def _sample(tokens: Tokens) -> Tokens:
    order = np.argsort(tokens.lengths, kind="stable")
    if len(order) > SAMPLE_TEXTS:
        order = order[np.linspace(0, len(order) - 1, SAMPLE_TEXTS).round().astype(int)]
    rows = [tokens[int(position)] for position in order]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Tokens(np.concatenate(rows), offsets.astype(np.int64))
