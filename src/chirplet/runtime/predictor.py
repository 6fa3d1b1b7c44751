"""Label texts with an artifact: cleaning, tokenization, inference, labels and probabilities.

Texts are not repaired: that is part of reading damaged files (`Artifact.repairs`).

`chirplet.load` is the entry point for notebooks and services. For artifacts of ONNX Runtime and OpenVINO this module
does not import torch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact, Record
from chirplet.data.batching.token_counts import TokenCounter
from chirplet.data.batching.tokens import UNCUT, Encoder, Tokens, special_tokens, tokenize
from chirplet.data.batching.windows import windows_of
from chirplet.data.preparation.cleaning import clean
from chirplet.runtime.base import Precision, Runtime, predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system.error import ConfigError, DataError, ModelError
from chirplet.task.base import Combination, Logits

_SURROGATE = re.compile("[\ud800-\udfff]")
OVERLAP = 0.25
"""Share of a window of tokens that is also in the one before, where nothing else is asked for."""


@dataclass(frozen=True)
class Prediction:
    """Predictions for n texts: `labels`, of length n, and `probabilities`, shape (n, classes)."""

    labels: list[str]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """A model with its tokenizer, and the cleaning and labels of its record; `batch_size` is in texts.

    Without `windows` long texts are truncated. With it they are read in windows that overlap by `window_overlap`, a
    share of a window, whose logits are combined.
    """

    runtime: Runtime
    tokenizer: Encoder
    pad_id: int
    record: Record
    batch_size: int
    windows: Combination | None
    window_overlap: float

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
        windows: Combination | None = None,
        window_overlap: float = OVERLAP,
        shared_cores: bool = False,
    ) -> Self:
        """Open an artifact's model and tokenizer; with `verify`, check the model with its probe first.

        `shared_cores` is for servers, see `open_runtime`.

        Raises:
            ModelError: weights or tokenizer are missing, damaged or incomplete, or the model does not reproduce its
                probe on this machine.
            DependencyError: the runtime, or what the tokenizer needs, is not installed.
            ConfigError: the runtime does not support the accelerator or precision.
        """
        record = artifact.record
        clean("a", record.cleaning)  # a missing library is an error here, and not at the first text
        tokenizer, pad_id = open_tokenizer(artifact.folder, record.max_length)
        runtime = open_runtime(
            artifact.folder,
            accelerator=accelerator,
            threads=threads,
            precision=precision,
            verify=verify,
            shared_cores=shared_cores,
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
        return cls(runtime, tokenizer, pad_id, record, batch_size, windows, window_overlap)

    @property
    def labels(self) -> list[str]:
        """The labels in the order of the probabilities."""
        return self.record.labels

    def __call__(self, texts: str | Sequence[str]) -> Prediction:
        """Label raw texts. They are cleaned as in training, and truncated unless there are `windows`.

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

    def logits(self, texts: str | Sequence[str]) -> Logits:
        """Logits for raw texts, shape (n, classes).

        Raises:
            DataError: `texts` is not a text or a sequence of texts.
        """
        return self.logits_of(self.tokens(listed(texts)))

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """The tokens of raw texts, truncated unless there are `windows`. Lone surrogates are read as U+FFFD."""
        texts = [_SURROGATE.sub("\ufffd", text) for text in texts]
        longest = self.record.max_length if self.windows is None else UNCUT
        return tokenize(texts, self.tokenizer, self.record.cleaning, longest)

    @cached_property
    def counter(self) -> TokenCounter:
        """Counts tokens that are unknown, and texts that are longer than the model reads."""
        return TokenCounter(self.tokenizer, self.record.max_length)

    def logits_of(self, tokens: Tokens) -> Logits:
        """Logits of texts with these tokens, shape (n, classes)."""
        if not len(tokens):
            return np.empty((0, len(self.labels)), np.float32)
        if self.windows is None:
            return predict_logits(self.runtime, tokens, self.pad_id, self.batch_size)
        special = special_tokens(self.tokenizer)
        parts = windows_of(tokens, special, self.record.max_length, self.window_overlap)
        logits = predict_logits(self.runtime, parts.tokens, self.pad_id, self.batch_size)
        return self.record.task.combine(logits, parts.first, self.windows)


def listed(texts: Any) -> list[str]:
    """One text or a sequence of texts as a list.

    Raises:
        DataError: `texts` is something else, or contains something else: missing values, numbers, columns.
    """
    if isinstance(texts, str):
        texts = [texts]
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


def load(
    folder: str | Path,
    *,
    batch_size: int = 64,
    accelerator: str = "auto",
    threads: int | None = None,
    verify: bool = True,
    windows: Combination | None = None,
    window_overlap: float = OVERLAP,
) -> Predictor:
    """Open the artifact in `folder`, of any runtime: `chirplet.load(DIR)(["a text"]).labels`.

    The model is verified once per process with texts of its `probe.json`, and runs with the fastest settings that
    reproduce their logits.

    Args:
        folder: the folder of an artifact, as a stage prints it.
        batch_size: number of texts in a batch.
        accelerator: auto, cpu, gpu or mps. ONNX Runtime takes a GPU only if it is asked to, OpenVINO and int8 none.
        threads: number of CPU threads; None is OMP_NUM_THREADS or one per core.
        verify: whether to verify the model; False also opens a model that does not reproduce its probe here.
        windows: how the logits of a long text's windows are combined, "mean" or "max"; None truncates long texts.
        window_overlap: share of a window that is also in the one before, 0 <= window_overlap < 1.

    Raises:
        ConfigError: an argument is not one of these, or the runtime does not support the accelerator.
        ArtifactError: there is no artifact, or its record is not valid.
        ModelError: the model or tokenizer is damaged, or the probe is not reproduced.
        DependencyError: the runtime, or what the tokenizer needs, is not installed.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size: got {batch_size}, should be 1 or more")
    if windows not in (None, *get_args(Combination)):
        raise ConfigError(f"windows: got {windows!r}, should be {', '.join(get_args(Combination))} or None")
    if not 0.0 <= window_overlap < 1.0:
        raise ConfigError(f"window_overlap: got {window_overlap}, should be 0 or more and less than 1")
    artifact = Artifact.open(Path(folder).expanduser())
    return Predictor.open(
        artifact,
        batch_size=batch_size,
        accelerator=accelerator,
        threads=threads,
        precision="auto",
        verify=verify,
        windows=windows,
        window_overlap=window_overlap,
    )
