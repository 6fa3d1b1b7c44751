"""Time a saved model, or compute its logits, in a new process.

The result depends only on the files in the folder.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
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
from chirplet.system.progress import silence

LATENCY_TEXTS = 200
WARMUP_BATCHES = 5
"""Warm-up batches of one text, and of `BATCH_SIZE` texts, because runtimes may initialise when the first large batch
comes. On a GPU there is a warm-up of all batches, since a CUDA graph is recorded for each shape."""
BATCH_SIZE = 32
THROUGHPUT_S = 1.5
"""Minimum duration of a throughput measurement, in seconds. The texts are repeated, because a fast model would be timed
in one moment, in which the machine may be slow."""


def logits_of(
    folder: Path,
    splits: Mapping[str, Tokens],
    pad_id: int,
    batch_size: int,
    threads: int | None,
    precision: Precision,
    accelerator: str = "cpu",
) -> dict[str, NDArray[np.float32]]:
    """Logits of each split, shape (n, classes), computed by the model in `folder` in a new process.

    Raises:
        ArtifactError: the process could not open or run the model.
    """
    with scratch_folder() as scratch:
        common = settings(pad_id, [accelerator], threads)
        options = ("--precision", precision, "--batch-size", str(batch_size), "--logits", str(scratch))
        run(folder, splits, *common, *options)
        return {split: np.load(scratch / f"{split}.npy", allow_pickle=False) for split in splits}


def run(folder: Path, splits: Mapping[str, Tokens], *arguments: str) -> str:
    """Run the process on these tokens and return the last line that it prints.

    Raises:
        ArtifactError: the process failed, with the last line of its error; or the disk is too full for the tokens.
    """
    with scratch_folder() as scratch:
        for split, tokens in splits.items():
            np.savez(scratch / split, values=tokens.values, offsets=tokens.offsets)
        command = [sys.executable, "-m", "chirplet.evaluation.isolated_process", str(folder), str(scratch), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ArtifactError(f"could not run the saved model in a new process: {exit_reason(done)}")
    return done.stdout.splitlines()[-1] if done.stdout else ""


def settings(pad_id: int, accelerators: Sequence[str], threads: int | None, verify: bool = True) -> tuple[str, ...]:
    """Arguments of the process: padding id, devices, number of threads, and whether to verify the model."""
    optional = () if threads is None else ("--threads", str(threads))
    return ("--pad-id", str(pad_id), "--accelerator", *accelerators, *optional, *(() if verify else ("--unverified",)))


def timed(runtime: Runtime, tokens: Tokens, pad_id: int) -> dict[str, Any]:
    """Latency of single texts and throughput of all `tokens` in texts per second, both after warm-up.

    `texts_timed` is the number of texts in the throughput measurement.
    """
    singles = np.linspace(0, len(tokens) - 1, min(LATENCY_TEXTS, len(tokens))).round().astype(int)
    milliseconds = []
    first = singles if runtime.device == "cuda" else singles[:WARMUP_BATCHES]
    for i, position in enumerate(np.concatenate([first, singles])):
        single = padded(tokens, [int(position)], pad_id)
        start = time.perf_counter()
        runtime.logits(*single)
        if i >= len(first):
            milliseconds.append(1000 * (time.perf_counter() - start))
    batches = list(by_length(tokens.lengths, BATCH_SIZE))
    count = len(batches) if runtime.device == "cuda" else WARMUP_BATCHES
    for index in np.linspace(0, len(batches) - 1, count).round().astype(int):
        runtime.logits(*padded(tokens, batches[index], pad_id))
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
    """Time a saved model on each split and print the results as a line of JSON, or write its logits."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("splits", type=Path, help="a folder of .npz files of values and offsets")
    parser.add_argument("--pad-id", type=int, required=True)
    parser.add_argument("--accelerator", nargs="+", default=["cpu"], help="with --time several, one after the other")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--unverified", action="store_true")
    parser.add_argument("--precision", choices=get_args(Precision), default="stored")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--time", action="store_true")
    mode.add_argument("--logits", type=Path, help="folder for the .npy files, one for each split")
    arguments = parser.parse_args()
    silence()  # the last line on standard error is to be the reason of a failure
    # All runtimes are timed with the same number of threads. Logits use the runtime's default, as in evaluation.
    threads = cpu_threads(arguments.threads) if arguments.time else arguments.threads
    runtimes = (
        open_runtime(
            arguments.folder,
            accelerator=accelerator,
            threads=threads,
            # On a GPU speed is that of prediction, which is in bf16 or fp16.
            precision="auto" if arguments.time and accelerator != "cpu" else arguments.precision,
            verify=not arguments.unverified,
        )
        for accelerator in arguments.accelerator
    )
    splits = {}
    for path in sorted(arguments.splits.glob("*.npz")):
        with np.load(path, allow_pickle=False) as read:
            splits[path.stem] = Tokens(read["values"], read["offsets"])
    if arguments.time:
        results = [
            {split: timed(runtime, tokens, arguments.pad_id) for split, tokens in splits.items()}
            for runtime in runtimes
        ]
        sys.stdout.write(json.dumps(results) + "\n")
    else:
        runtime = next(runtimes)
        for split, tokens in splits.items():
            logits = predict_logits(runtime, tokens, arguments.pad_id, arguments.batch_size)
            np.save(arguments.logits / split, logits)


if __name__ == "__main__":
    main()
