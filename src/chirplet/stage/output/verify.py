"""What a quantized artifact proves before it is called finished, from its folder and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np

from chirplet.data.base import Examples
from chirplet.data.batching.tokens import Tokens, tokenize
from chirplet.evaluation import isolated_process as fresh
from chirplet.runtime.base import predict_logits
from chirplet.runtime.open import accelerator_for, open_runtime
from chirplet.runtime.probe import read_probe
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.output.make_probe import verify_grid
from chirplet.stage.output.write_artifact import SplitLogits
from chirplet.stage.run.context import Run
from chirplet.stage.run.prepared import Prepared
from chirplet.system.error import ArtifactError

LOGIT_TOLERANCE = 1e-4
"""Of a second process on the same machine: the order of sums may change with where memory lies, nothing more."""
NEIGHBOUR_TEXTS = 256


def tokens_as_saved(folder: Path, data: Prepared, examples: Examples) -> Tokens:
    """The texts' tokens by the tokenizer in the folder, which must be those that the model was judged on.

    Raises:
        ArtifactError: they are others.
    """
    tokenizer, pad_id = open_tokenizer(folder, data.max_length)
    saved, known = tokenize(examples.text, tokenizer, data.cleaning, data.max_length), data.tokens(examples)
    same = np.array_equal(saved.offsets, known.offsets) and np.array_equal(saved.values, known.values)
    if not same or pad_id != data.pad_id:
        raise ArtifactError("the saved tokenizer reads texts as other tokens than the model was judged on")
    return saved


def verify_saved(run: Run, folder: Path, data: Prepared, evaluated: SplitLogits, batch_size: int) -> dict[str, Any]:
    """Predict again in a new process, where the same batches must give the same labels; then in other batches.

    Returns:
        `runtime`, which opened the folder, and the `device` and `precision` that it computed on and in; `probe`, as of
        `verify_grid`; `verified` (texts, largest difference of logits, the tolerance) and
        `batch_composition`: of some texts, each alone and among others, the share whose label is the same, and the
        largest difference of logits.

    Raises:
        ArtifactError: the saved tokenizer reads a text otherwise, a label differs from that in the record, or a logit
            by more than `LOGIT_TOLERANCE`.
        ModelError: it answers its probe otherwise in some batches or with other threads.
    """
    threads = run.trainer.threads
    largest, count = 0.0, 0
    splits: dict[str, Tokens] = {
        split: tokens_as_saved(folder, data, examples) for split, (examples, _) in evaluated.items()
    }
    accelerator = accelerator_for(folder, run.trainer.accelerator)
    again = fresh.logits_of(folder, splits, data.pad_id, batch_size, threads, "stored", accelerator) if splits else {}
    for split, (examples, logits) in evaluated.items():
        found = again[split]
        changed = int((~data.task.agree(found, logits)).sum())
        largest, count = max(largest, float(np.abs(found - logits).max())), count + len(examples)
        if changed or largest > LOGIT_TOLERANCE:
            raise ArtifactError(
                f"the saved model, opened in a new process, labels {changed} of {len(examples)} {split} texts "
                f"otherwise, and its logits differ by up to {largest:.2g}; nothing was written"
            )
    examples = data.corpus.val if len(data.corpus.val) else data.corpus.train
    spread = np.linspace(0, len(examples) - 1, min(NEIGHBOUR_TEXTS, len(examples))).round().astype(np.int64)
    some = data.tokens(examples.take(spread))
    probe = read_probe(folder)
    assert probe is not None  # it has just been written
    grid = verify_grid(folder, probe, accelerator, threads)
    runtime = open_runtime(folder, accelerator=accelerator, threads=threads, precision="stored")
    alone, among = (predict_logits(runtime, some, data.pad_id, size) for size in (1, batch_size))
    return {
        "runtime": runtime.name,
        "device": runtime.device,
        "precision": runtime.precision,
        "probe": grid,
        "verified": {"texts": count, "largest_difference": largest, "tolerance": LOGIT_TOLERANCE},
        "batch_composition": {
            "texts": len(spread),
            "batch_sizes": [1, batch_size],
            "same_labels": float(data.task.agree(alone, among).mean()),
            "largest_difference": float(np.abs(alone - among).max()),
        },
    }
