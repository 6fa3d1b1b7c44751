"""What a model says of texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact
from chirplet.runtime.predictor import Predictor


@dataclass(frozen=True)
class Answers:
    """Answers to n texts, of the artifact `id`.

    Attributes:
        id: id of the artifact that computed them.
        labels: all labels, in the order of the probabilities.
        label: the label of each text.
        probabilities: shape (n, labels).
        tokens: tokens of each text, special ones included, before it is truncated.
        truncated: whether each text is longer than the model reads.
        ms: milliseconds from the request to its answer.
    """

    id: str
    labels: list[str]
    label: list[str]
    probabilities: NDArray[np.float64]
    tokens: list[int]
    truncated: list[bool]
    ms: float = 0.0

    def part(self, start: int, stop: int) -> "Answers":
        """The answers to texts `start` to `stop - 1`."""
        here = slice(start, stop)
        return Answers(
            self.id, self.labels, self.label[here], self.probabilities[here], self.tokens[here], self.truncated[here]
        )


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of one artifact to the texts of all parts."""
    first, *others = parts
    if not others:
        return first
    return Answers(
        first.id,
        first.labels,
        [label for part in parts for label in part.label],
        np.concatenate([part.probabilities for part in parts]),
        [count for part in parts for count in part.tokens],
        [cut for part in parts for cut in part.truncated],
    )


@dataclass(frozen=True)
class OpenModel:
    """An open artifact: its record and its predictor."""

    artifact: Artifact
    predictor: Predictor

    @classmethod
    def open(cls, artifact: Artifact, accelerator: str, threads: int | None, verify: bool) -> Self:
        """Open an artifact; with `verify` it answers its probe.

        Raises:
            UserError: see `Predictor.open`.
        """
        predictor = Predictor.open(
            artifact,
            batch_size=1,
            accelerator=accelerator,
            threads=threads,
            precision="auto",
            verify=verify,
            shared_cores=True,
        )
        return cls(artifact, replace(predictor, batch_size=predictor.runtime.batch_texts))

    def answers(self, texts: list[str]) -> Answers:
        """Label texts."""
        predictor, record = self.predictor, self.artifact.record
        tokens = predictor.tokens(texts)
        logits, lengths = predictor.logits_of(tokens), tokens.lengths.copy()
        if tokens.truncated:
            (full,) = np.nonzero(lengths == record.max_length)
            # Windows are made of all tokens of a text.
            lengths[full] = replace(predictor, windows="mean").tokens([texts[i] for i in full]).lengths
        return Answers(
            record.id,
            record.labels,
            record.task.names(record.task.decode(logits), record.labels),
            record.task.probabilities(logits),
            lengths.tolist(),
            (lengths > record.max_length).tolist(),
        )
