"""Label texts with an artifact: cleaning, tokenization, inference, labels and probabilities.

`chirplet.load` is the entry point for notebooks and services. For artifacts of ONNX Runtime and OpenVINO this module
does not import torch.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.data.batching.tokens import Encoder, tokenize
from chirplet.data.preparation.repair import repair
from chirplet.runtime.base import Precision, Runtime, predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system.error import ArtifactError, ConfigError, DataError, ModelError


@dataclass(frozen=True)
class Prediction:
    """Predictions for n texts: `labels`, of length n, and `probabilities`, shape (n, classes)."""

    labels: list[str]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """A model with its tokenizer, and the cleaning and labels of its record; `batch_size` is in texts."""

    runtime: Runtime
    tokenizer: Encoder
    pad_id: int
    record: Record
    batch_size: int

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        *,
        batch_size: int,
        accelerator: str,
        threads: int | None,
        precision: Precision,
        verify: bool = True,
    ) -> Self:
        """Open an artifact's model and tokenizer; with `verify`, check the model with its probe first.

        Raises:
            ArtifactError: the record does not say whether texts are repaired.
            ModelError: weights or tokenizer are missing, damaged or incomplete, the runtime is not installed, or the
                model does not reproduce its probe on this machine.
            ConfigError: the runtime does not support the accelerator or precision.
        """
        record = artifact.record
        if not isinstance(_repair_of(record), bool):
            raise ArtifactError(
                f"{artifact.folder / RECORD} is not a valid record: config.data.repair: should be a boolean"
            )
        tokenizer, pad_id = open_tokenizer(artifact.folder, record.max_length)
        runtime = open_runtime(
            artifact.folder, accelerator=accelerator, threads=threads, precision=precision, verify=verify
        )
        single = np.full((1, 1), pad_id, dtype=np.int64)
        logits = runtime.logits(single, np.ones_like(single))
        if not np.isfinite(logits).all():
            raise ModelError(
                f"artifact: the model in {str(artifact.folder)!r} computes logits that are not finite; "
                "its weights are damaged"
            )
        classes = logits.shape[1]
        if classes != len(record.labels):
            raise ModelError(
                f"artifact: the model in {str(artifact.folder)!r} has {classes} classes, "
                f"its record {len(record.labels)}"
            )
        return cls(runtime, tokenizer, pad_id, record, batch_size)

    @property
    def labels(self) -> list[str]:
        """The labels in the order of the probabilities."""
        return self.record.labels

    def __call__(self, texts: str | Sequence[str]) -> Prediction:
        """Label raw texts. They are repaired, cleaned and truncated as in training.

        Args:
            texts: one text, or a sequence of texts, for example a list, numpy array or pandas Series.

        Raises:
            DataError: `texts` is not a text or a sequence of texts.
        """
        logits, task = self.logits(texts), self.record.task
        return Prediction(task.names(task.decode(logits), self.labels), task.probabilities(logits))

    def probabilities(self, texts: str | Sequence[str]) -> NDArray[np.float64]:
        """Probabilities of each label for raw texts, shape (n, classes).

        Raises:
            DataError: `texts` is not a text or a sequence of texts.
        """
        return self.record.task.probabilities(self.logits(texts))

    def logits(self, texts: str | Sequence[str]) -> NDArray[np.float32]:
        """Logits for raw texts, shape (n, classes).

        Raises:
            DataError: `texts` is not a text or a sequence of texts.
        """
        texts = listed(texts)
        if not texts:
            return np.empty((0, len(self.labels)), np.float32)
        if _repair_of(self.record):
            texts = [repair(text)[0] for text in texts]
        tokens = tokenize(texts, self.tokenizer, self.record.cleaning, self.record.max_length)
        return predict_logits(self.runtime, tokens, self.pad_id, self.batch_size)


def listed(texts: Any) -> list[str]:
    """One text or a sequence of texts as a list.

    Raises:
        DataError: `texts` is something else, or contains something else: missing values, numbers, columns.
    """
    if isinstance(texts, str):
        return [texts]
    # Iterating over a mapping or data frame would yield its keys.
    if isinstance(texts, Mapping | Set | bytes) or getattr(texts, "ndim", 1) != 1 or not isinstance(texts, Iterable):
        raise DataError(f"texts: got {type(texts).__name__}, should be a text or a sequence of texts")
    items = list(texts)
    wrong = next((i for i, text in enumerate(items) if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(
            f"texts: got {items[wrong]!r} at index {wrong}, should be a text; leave it out, or give '' for no text"
        )
    return [str(text) for text in items]


def _repair_of(record: Record) -> object:
    data = record.config.get("data")
    return data.get("repair") if isinstance(data, dict) else None


def load(
    folder: str | Path,
    *,
    batch_size: int = 64,
    accelerator: str = "auto",
    threads: int | None = None,
    verify: bool = True,
) -> Predictor:
    """Open the artifact in `folder`, of any runtime: `chirplet.load(DIR)(["a text"]).labels`.

    The model is verified once per process with texts of its `probe.json`, and runs with the fastest settings that
    reproduce their logits.

    Args:
        folder: the folder of an artifact, as a stage prints it.
        batch_size: number of texts in a batch.
        accelerator: auto, cpu, gpu or mps; only PyTorch supports the last two.
        threads: number of CPU threads; None is OMP_NUM_THREADS or one per core.
        verify: whether to verify the model; False also opens a model that does not reproduce its probe here.

    Raises:
        ConfigError: `batch_size` is below 1, or the runtime does not support the accelerator.
        ArtifactError: there is no artifact, or its record is not valid.
        ModelError: the model or tokenizer is damaged, the runtime is not installed, or the probe is not reproduced.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size: got {batch_size}, should be 1 or more")
    artifact = Artifact.open(Path(folder).expanduser())
    return Predictor.open(
        artifact,
        batch_size=batch_size,
        accelerator=accelerator,
        threads=threads,
        precision="auto",
        verify=verify,
    )
