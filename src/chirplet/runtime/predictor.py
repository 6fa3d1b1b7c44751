"""An artifact that labels texts: cleaning, tokens, its runtime, labels and probabilities.

`chirplet.load` is what notebooks and services call. For artifacts of ONNX Runtime and OpenVINO nothing here imports
torch.
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
    """What a model says of n texts: `labels` (n) and `probabilities` (n, classes)."""

    labels: list[str]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """A model with the tokenizer, cleaning and labels of its record; `batch_size` counts texts."""

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
        """Open an artifact's model and tokenizer; `verify` has it answer its probe first.

        Raises:
            ArtifactError: the record does not say whether texts are repaired.
            ModelError: weights or tokenizer are missing, damaged or incomplete, the runtime is not installed, or the
                model answers its probe otherwise on this machine.
            ConfigError: the runtime cannot do with that accelerator or precision.
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
                f"artifact: the model in {str(artifact.folder)!r} computes no numbers; its weights are damaged"
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
        """Label texts as they were written: they are repaired, cleaned and cut as in training.

        Args:
            texts: one text, or a sequence of them: a list, a tuple, a numpy array or a pandas Series, say.

        Raises:
            DataError: they are no texts.
        """
        logits, task = self.logits(texts), self.record.task
        return Prediction(task.names(task.decode(logits), self.labels), task.probabilities(logits))

    def probabilities(self, texts: str | Sequence[str]) -> NDArray[np.float64]:
        """The probability of each label for each text as it was written; shape (n, classes).

        Raises:
            DataError: they are no texts.
        """
        return self.record.task.probabilities(self.logits(texts))

    def logits(self, texts: str | Sequence[str]) -> NDArray[np.float32]:
        """The model's logits for each text as it was written; shape (n, classes).

        Raises:
            DataError: they are no texts.
        """
        texts = listed(texts)
        if not texts:
            return np.empty((0, len(self.labels)), np.float32)
        if _repair_of(self.record):
            texts = [repair(text)[0] for text in texts]
        tokens = tokenize(texts, self.tokenizer, self.record.cleaning, self.record.max_length)
        return predict_logits(self.runtime, tokens, self.pad_id, self.batch_size)


def listed(texts: Any) -> list[str]:
    """One text or a sequence of them as a list.

    Raises:
        DataError: it is something else, or holds something else: missing values, numbers, columns.
    """
    if isinstance(texts, str):
        return [texts]
    # What has several columns or keys is iterated over by these.
    if isinstance(texts, Mapping | Set | bytes) or getattr(texts, "ndim", 1) != 1 or not isinstance(texts, Iterable):
        raise DataError(f"texts: got {type(texts).__name__}, should be a text or a sequence of texts")
    found = list(texts)
    wrong = next((place for place, text in enumerate(found) if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(
            f"texts: got {found[wrong]!r} at place {wrong}, should be a text; leave it out, or give '' for no text"
        )
    return [str(text) for text in found]


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
    """Open the artifact in `folder`, whatever its runtime: `chirplet.load(DIR)(["a text"]).labels`.

    The model first answers some texts of its `probe.json`, once in a process, in the fastest way that answers rightly.

    Args:
        folder: an artifact, as a stage prints it.
        batch_size: texts computed together.
        accelerator: auto, cpu, gpu or mps; all but PyTorch compute on the CPU.
        threads: of the CPU; None is what OMP_NUM_THREADS says, or one for each core.
        verify: whether the probe is asked; False opens a model that answers otherwise on this machine, too.

    Raises:
        ConfigError: `batch_size` is below 1, or the runtime cannot do with that accelerator.
        ArtifactError: there is no artifact, or its record is not valid.
        ModelError: its model or tokenizer is damaged, its runtime is not installed, or it answers its probe otherwise.
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
