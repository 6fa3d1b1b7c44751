"""The models that a server has, by name."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact
from chirplet.runtime.predictor import Predictor
from chirplet.server.errors import RequestError
from chirplet.server.limits import Limits


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
        ms: milliseconds from the request's arrival in the queue to the answer.
    """

    id: str
    labels: list[str]
    label: list[str]
    probabilities: NDArray[np.float64]
    tokens: list[int]
    truncated: list[bool]
    ms: float


class ServedModel:
    """An open artifact and its queue."""

    def __init__(self, name: str, artifact: Artifact, predictor: Predictor, limits: Limits) -> None:
        self.name = name
        self.artifact = artifact
        self.predictor = predictor
        self.limits = limits

    async def classify(self, texts: Sequence[str]) -> Answers:
        """Label texts together with those of other requests.

        Raises:
            RequestError: there are too many or too long texts (413), the queue is full (429), or the model fails (500).
        """
        started = time.perf_counter()
        answers = await asyncio.to_thread(self.predictor, list(texts))
        n = len(texts)
        ms = (time.perf_counter() - started) * 1e3
        record = self.artifact.record
        return Answers(record.id, record.labels, answers.labels, answers.probabilities, [0] * n, [False] * n, ms)


class Models(Mapping[str, ServedModel]):
    """Models by name, in the order given; the first is the default."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = {model.name: model for model in models}

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def named(self, name: str | None) -> ServedModel:
        """The model of that name; None is the default.

        Raises:
            RequestError: there is none (404).
        """
        chosen = next(iter(self._models)) if name is None else name
        if chosen not in self._models:
            raise RequestError(404, f"model: got {chosen[:200]!r}, should be one of {', '.join(self._models)}")
        return self._models[chosen]
