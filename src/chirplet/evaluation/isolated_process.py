"""A fresh process that opens a saved model and times it, or computes logits.

What it does depends on nothing but the files in the folder.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.padding import by_length, padded
from chirplet.data.batching.tokens import Tokens
from chirplet.runtime.base import Precision, Runtime, predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.system.atomic_io import scratch_folder
from chirplet.system.child_process import exit_reason
from chirplet.system.error import ArtifactError
from chirplet.system.hardware import cpu_threads

LATENCY_TEXTS = 200
WARMUP_BATCHES = 5
"""Of single texts and of `BATCH_SIZE` each; runtimes may prepare for large batches when the first one comes."""
BATCH_SIZE = 32
THROUGHPUT_S = 1.5
"""Seconds for which texts are computed at least, over and over again: what is fast would else be timed in one moment,
which may be a slow one of the machine's."""


def logits_of(
    folder: Path,
    splits: Mapping[str, Tokens],
    pad_id: int,
    batch_size: int,
    threads: int | None,
    precision: Precision,
    accelerator: str = "cpu",
) -> dict[str, NDArray[np.float32]]:
    """Logits of all texts of each split, shape (n, classes), by the model in `folder`, from one fresh process.

    Raises:
        ArtifactError: it could not open or run the model.
    """
    with scratch_folder() as scratch:
        common = settings(pad_id, accelerator, threads)
        wanted = ("--precision", precision, "--batch-size", str(batch_size), "--logits", str(scratch))
        run(folder, splits, *common, *wanted)
        return {split: np.load(scratch / f"{split}.npy", allow_pickle=False) for split in splits}


def run(folder: Path, splits: Mapping[str, Tokens], *arguments: str) -> str:
    """Start the process on these tokens; what it prints.

    Raises:
        ArtifactError: it failed, with the last line of its error; or there is no room for the tokens.
    """
    with scratch_folder() as scratch:
        for split, tokens in splits.items():
            np.savez(scratch / split, values=tokens.values, offsets=tokens.offsets)
        command = [sys.executable, "-m", "chirplet.evaluation.isolated_process", str(folder), str(scratch), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ArtifactError(f"could not run the saved model in a new process: {exit_reason(done)}")
    return done.stdout.splitlines()[-1] if done.stdout else ""


def settings(pad_id: int, accelerator: str, threads: int | None, verify: bool = True) -> tuple[str, ...]:
    """Arguments of the process: what pads, on what and with how many threads it computes, whether it asks the probe."""
    optional = () if threads is None else ("--threads", str(threads))
    return ("--pad-id", str(pad_id), "--accelerator", accelerator, *optional, *(() if verify else ("--unverified",)))


def timed(runtime: Runtime, tokens: Tokens, pad_id: int) -> dict[str, Any]:
    """Latency of single texts and texts a second of all `tokens`, each once the runtime is warm.

    `texts_timed` counts how many went by while the latter was taken.
    """
    singles = np.linspace(0, len(tokens) - 1, min(LATENCY_TEXTS, len(tokens))).round().astype(int)
    milliseconds = []
    for i, position in enumerate(np.concatenate([singles[:WARMUP_BATCHES], singles])):
        single = padded(tokens, [int(position)], pad_id)
        start = time.perf_counter()
        runtime.logits(*single)
        if i >= WARMUP_BATCHES:
            milliseconds.append(1000 * (time.perf_counter() - start))
    batches = list(by_length(tokens.lengths, BATCH_SIZE))
    for place in np.linspace(0, len(batches) - 1, WARMUP_BATCHES).round().astype(int):
        runtime.logits(*padded(tokens, batches[place], pad_id))
    start, passes, seconds = time.perf_counter(), 0, 0.0
    while seconds < THROUGHPUT_S or passes == 0:
        predict_logits(runtime, tokens, pad_id, BATCH_SIZE)
        passes, seconds = passes + 1, time.perf_counter() - start
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {
        "latency_ms": {"p50": float(p50), "p95": float(p95)},
        "texts_per_s": passes * len(tokens) / seconds,
        "texts_timed": passes * len(tokens),
        "mean_tokens": float(tokens.lengths.mean()),
        "threads": runtime.threads,
        "runtime": runtime.name,
        "precision": runtime.precision,
        "device": runtime.device,
    }


def main() -> None:
    """Time one saved model on each split and print the result as a line of JSON, or write its logits."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("splits", type=Path, help="a folder of .npz files of values and offsets")
    parser.add_argument("--pad-id", type=int, required=True)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--unverified", action="store_true")
    parser.add_argument("--precision", choices=get_args(Precision), default="stored")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--time", action="store_true")
    wanted.add_argument("--logits", type=Path, help="the folder of the .npy files to write, one for each split")
    arguments = parser.parse_args()
    # Times are of as many threads for every runtime; PyTorch's own choice, which logits were judged with, is another.
    threads = cpu_threads(arguments.threads) if arguments.time else arguments.threads
    runtime = open_runtime(
        arguments.folder,
        accelerator=arguments.accelerator,
        threads=threads,
        precision=arguments.precision,
        verify=not arguments.unverified,
    )
    splits = {}
    for path in sorted(arguments.splits.glob("*.npz")):
        with np.load(path, allow_pickle=False) as read:
            splits[path.stem] = Tokens(read["values"], read["offsets"])
    if arguments.time:
        timings = {split: timed(runtime, tokens, arguments.pad_id) for split, tokens in splits.items()}
        sys.stdout.write(json.dumps(timings) + "\n")
    else:
        for split, tokens in splits.items():
            logits = predict_logits(runtime, tokens, arguments.pad_id, arguments.batch_size)
            np.save(arguments.logits / split, logits)


if __name__ == "__main__":
    main()
