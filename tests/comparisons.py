"""Small artifacts with real records and predictions, for comparisons."""

from pathlib import Path
from typing import Any

import numpy as np

from chirplet.artifact.artifact import Ancestor, write_record
from chirplet.artifact.predictions import write_predictions
from chirplet.data.base import Examples
from chirplet.metric.classification import evaluate
from chirplet.task.single_label import SingleLabel
from records import LABELS, make_record

N = 40
TRUTH = np.arange(N) % 3
TEXTS = [f"text {i} " + "#tag " * (i % 2) + "@user " * (i % 3) + "http://t.co/x " * (i % 5 == 0) for i in range(N)]
EXAMPLES = Examples([f"texts.csv:{i + 1}" for i in range(N)], TEXTS, TRUTH.astype(np.int64), [None] * N)


def logits(right: int, truth: np.ndarray) -> np.ndarray:
    """Logits that label the first `right` texts correctly and the others as the next class."""
    predicted = np.where(np.arange(len(truth)) < right, truth, (truth + 1) % 3)
    return 3 * np.eye(3, dtype=np.float32)[predicted]


def ancestor(identity: str, stage: str) -> Ancestor:
    return Ancestor(
        name="artifact", revision=None, weights_sha256=None, pretrained=True, artifact=identity, stage=stage
    )


def cost(mb: float, ms: float, texts_per_s: float) -> dict[str, Any]:
    return {
        "params_total": 100,
        "params_nonzero": 90,
        "params_packed": 100,
        "bytes_on_disk": int(mb * 1e6),
        "bytes_compressed": int(mb * 9e5),
        "latency_ms": {"p50": ms, "p95": 2 * ms},
        "texts_per_s": texts_per_s,
        "threads": 2,
        "runtime": "pytorch",
    }


def write_artifact(
    folder: Path, identity: str, right: dict[str, int], examples: Examples = EXAMPLES, **changes: Any
) -> Path:
    """An artifact whose id begins with `identity`, with the given number of correct texts on each split."""
    folder.mkdir(parents=True)
    evaluated = {split: (examples, logits(count, examples.label)) for split, count in right.items()}
    write_predictions(folder, evaluated, SingleLabel())
    metrics = {split: evaluate(pair[1], examples.label, LABELS) for split, pair in evaluated.items()}
    write_record(folder, make_record(id=identity.ljust(64, "0"), metrics=metrics, **({"cost": {}} | changes)))
    return folder


def family(root: Path) -> list[Path]:
    """A teacher, its int8 version, and a student of another base model, in folders as a chain makes them."""
    base = make_record().lineage[0]
    student = base.model_copy(update={"name": "another/base"})
    teacher = write_artifact(
        root / "teacher" / "artifact", "aaa", {"val": 36, "test": 35}, cost=cost(90, 10, 100), overrides=["seed=1"]
    )
    int8 = write_artifact(
        root / "int8" / "artifact",
        "bbb",
        {"val": 36, "test": 34},
        cost=cost(22.5, 2, 400),
        stage="quantize",
        method="onnx_int8",
        parent="aaa".ljust(64, "0"),
        lineage=[base, ancestor("aaa".ljust(64, "0"), "finetune")],
    )
    label_only_baseline = {
        "accuracy": 0.5,
        "difference": {"value": 0.2, "low": 0.1, "high": 0.3, "mcnemar_p": 0.01, "level": 0.95},
    }
    small = write_artifact(
        root / "student" / "artifact",
        "ccc",
        {"val": 30, "test": 28},
        cost=cost(45, 5, 200),
        stage="distill",
        method="logits",
        lineage=[student],
        training={
            "teachers": {"aaa".ljust(12, "0"): {}},
            "label_only_baseline": {"val": label_only_baseline, "test": label_only_baseline},
        },
    )
    return [teacher, int8, small]
