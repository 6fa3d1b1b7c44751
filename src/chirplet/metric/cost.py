"""What a saved model costs: parameters, bytes, latency, throughput.

Counts are read from the artifact's files. Times are taken in a fresh process that opens the saved folder
(`python -m chirplet.metric.cost FOLDER SAMPLE`), never from an object still in memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors import safe_open

from chirplet.artifact import CARD, PREDICTIONS, RECORD
from chirplet.data.tokens import Tokens
from chirplet.error import ArtifactError

WEIGHTS = "model.safetensors"
SAMPLE_TWEETS = 1024
"""Tweets timed at most; taken evenly over the split in length order, so lengths are distributed as in the split."""
LATENCY_TWEETS = 200
WARMUP_BATCHES = 5
BATCH_SIZE = 32


def measure(folder: Path, tokens: Tokens, pad_id: int, threads: int | None) -> dict[str, Any]:
    """Every cost of the artifact being written at `folder`.

    Returns:
        `params_total`, `params_nonzero`, `params_packed` (all weights of the file), `bytes_on_disk` and
        `bytes_compressed` (zstd) of what is needed to run the model, `latency_ms` (`p50`, `p95`; batch 1),
        `tweets_per_s` (batch 32, length order), `threads`, `runtime`, `precision`, `device`, `tweets_timed`.

    Raises:
        ArtifactError: the fresh process could not open or run the model.
    """
    return (
        count_parameters(folder / WEIGHTS)
        | count_bytes(folder)
        | time_in_fresh_process(folder, tokens, pad_id, threads)
    )


def count_parameters(weights: Path) -> dict[str, int]:
    """Weights in a safetensors file: all, those not zero, and all again as packed (one for each stored number)."""
    total = nonzero = 0
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - the handle is no mapping
            tensor = file.get_tensor(name)
            total += tensor.numel()
            nonzero += int(torch.count_nonzero(tensor))
    return {"params_total": total, "params_nonzero": nonzero, "params_packed": total}


def count_bytes(folder: Path) -> dict[str, int]:
    """Size of the files that run the model, as they are and compressed with zstd."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (RECORD, PREDICTIONS, CARD)]
    contents = (path.read_bytes() for path in files)
    compressed = sum(len(pa.compress(content, codec="zstd", asbytes=True)) for content in contents if content)
    return {"bytes_on_disk": sum(path.stat().st_size for path in files), "bytes_compressed": compressed}


def time_in_fresh_process(folder: Path, tokens: Tokens, pad_id: int, threads: int | None) -> dict[str, Any]:
    """Latency and throughput of the model saved at `folder`, on a sample of `tokens`."""
    sample = _sample(tokens)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "sample.npz"
        np.savez(path, values=sample.values, offsets=sample.offsets)
        command = [
            sys.executable,
            "-m",
            "chirplet.metric.cost",
            str(folder),
            str(path),
            "--pad-id",
            str(pad_id),
        ]
        if threads is not None:
            command += ["--threads", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise ArtifactError(f"could not time the saved model: {reason}; stage.measure_cost=false leaves that out")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _sample(tokens: Tokens) -> Tokens:
    order = np.argsort(tokens.lengths, kind="stable")
    if len(order) > SAMPLE_TWEETS:
        order = order[np.linspace(0, len(order) - 1, SAMPLE_TWEETS).round().astype(int)]
    rows = [tokens[int(position)] for position in order]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Tokens(np.concatenate(rows), offsets.astype(np.int64))


@torch.inference_mode()
def _time(folder: Path, tokens: Tokens, pad_id: int) -> dict[str, Any]:
    from transformers import AutoModelForSequenceClassification

    from chirplet.module.inference import predict_logits

    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    model.eval()
    lengths = tokens.lengths
    singles = np.linspace(0, len(tokens) - 1, min(LATENCY_TWEETS, len(tokens))).round().astype(int)
    milliseconds = []
    for i, position in enumerate(np.concatenate([singles[:WARMUP_BATCHES], singles])):
        row = torch.from_numpy(tokens[int(position)].astype(np.int64))[None]
        start = time.perf_counter()
        model(input_ids=row, attention_mask=torch.ones_like(row))
        if i >= WARMUP_BATCHES:
            milliseconds.append(1000 * (time.perf_counter() - start))
    start = time.perf_counter()
    predict_logits(model, tokens, pad_id, BATCH_SIZE, bf16=False)
    seconds = time.perf_counter() - start
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {
        "latency_ms": {"p50": float(p50), "p95": float(p95)},
        "tweets_per_s": len(tokens) / seconds,
        "tweets_timed": len(tokens),
        "mean_tokens": float(lengths.mean()),
        "threads": torch.get_num_threads(),
        "runtime": "pytorch",
        "precision": "fp32",
        "device": model.device.type,
    }


def main() -> None:
    """Time one saved model and print the result as a line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--pad-id", type=int, required=True)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    sample = np.load(arguments.sample, allow_pickle=False)
    result = _time(arguments.folder, Tokens(sample["values"], sample["offsets"]), arguments.pad_id)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
