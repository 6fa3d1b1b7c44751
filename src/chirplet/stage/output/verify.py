"""Verify a quantized artifact from its saved files alone."""

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
from chirplet.system.progress import Progress

LOGIT_TOLERANCE = 1e-4
"""Largest difference to a second process on the same machine, where memory alignment may change the order of sums."""
NEIGHBOUR_TEXTS = 256


def tokens_as_saved(folder: Path, data: Prepared, examples: Examples) -> Tokens:
    """The texts' tokens by the saved tokenizer, which must equal those that the model was evaluated on.

    Raises:
        ArtifactError: they differ.
    """
    tokenizer, pad_id = open_tokenizer(folder, data.max_length)
    saved, known = tokenize(examples.text, tokenizer, data.cleaning, data.max_length), data.tokens(examples)
    same = np.array_equal(saved.offsets, known.offsets) and np.array_equal(saved.values, known.values)
    if not same or pad_id != data.pad_id:
        raise ArtifactError("the saved tokenizer gives other tokens than those the model was evaluated on")
    return saved


def verify_saved(run: Run, folder: Path, data: Prepared, evaluated: SplitLogits, batch_size: int) -> dict[str, Any]:
    """Predict again in a new process, where equal batches must give equal labels, and then in other batches.

    Returns:
        `runtime`, `device` and `precision` of the opened model; `probe`, the result of `verify_grid`; `verified`
        (number of texts, largest difference of logits, and the tolerance); and `batch_composition`, which compares
        texts alone with the same texts in batches: the share of equal labels, and the largest difference of logits.

    Raises:
        ArtifactError: the saved tokenizer gives other tokens, a label differs from the evaluated one, or a logit
            differs by more than `LOGIT_TOLERANCE`.
        ModelError: the model fails its probe in some batches or with another number of threads.
    """
    threads = run.trainer.threads
    largest, count = 0.0, 0
    splits: dict[str, Tokens] = {
        split: tokens_as_saved(folder, data, examples) for split, (examples, _) in evaluated.items()
    }
    accelerator = accelerator_for(folder, run.trainer.accelerator)
    reopened = {}
    if splits:
        with Progress("verifying in a new process"):
            reopened = fresh.logits_of(folder, splits, data.pad_id, batch_size, threads, "stored", accelerator)
    for split, (examples, logits) in evaluated.items():
        second = reopened[split]
        changed = int((~data.task.agree(second, logits)).sum())
        largest, count = max(largest, float(np.abs(second - logits).max())), count + len(examples)
        if changed or largest > LOGIT_TOLERANCE:
            raise ArtifactError(
                f"the saved model, opened in a new process, changes the labels of {changed} of {len(examples)} {split} "
                f"texts; its logits differ by up to {largest:.2g}, should be at most {LOGIT_TOLERANCE:g}; nothing was "
                "written"
            )
    examples = data.corpus.val if len(data.corpus.val) else data.corpus.train
    spread = np.linspace(0, len(examples) - 1, min(NEIGHBOUR_TEXTS, len(examples))).round().astype(np.int64)
    sample = data.tokens(examples.take(spread))
    probe = read_probe(folder)
    assert probe is not None  # `save` has written it
    with Progress("verifying the probe"):
        grid = verify_grid(folder, probe, accelerator, threads)
    runtime = open_runtime(folder, accelerator=accelerator, threads=threads, precision="stored")
    alone, batched = (predict_logits(runtime, sample, data.pad_id, size) for size in (1, batch_size))
    return {
        "runtime": runtime.name,
        "device": runtime.device,
        "precision": runtime.precision,
        "probe": grid,
        "verified": {"texts": count, "largest_difference": largest, "tolerance": LOGIT_TOLERANCE},
        "batch_composition": {
            "texts": len(spread),
            "batch_sizes": [1, batch_size],
            "same_labels": float(data.task.agree(alone, batched).mean()),
            "largest_difference": float(np.abs(alone - batched).max()),
        },
    }
