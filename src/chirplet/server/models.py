"""The models that a server has, by name."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from chirplet.artifact.artifact import Artifact
from chirplet.runtime.predictor import Predictor
from chirplet.server.answers import Answers, OpenModel, joined
from chirplet.server.batching import Batcher, Queue
from chirplet.server.errors import RequestError
from chirplet.server.limits import Limits
from chirplet.server.metrics import Metrics, ModelMetrics
from chirplet.system.error import UserError

BATCHES = 2
"""Batches of the runtime that are computed at a time: while the last parts of one are computed, the next one starts."""


class ServedModel:
    """An open artifact with its queue. `reopen` opens the folder again."""

    def __init__(
        self, name: str, reopen: Callable[[], OpenModel], batcher: Batcher, limits: Limits, metrics: Metrics
    ) -> None:
        self.name = name
        self.limits = limits
        self._reopen = reopen
        self._open = reopen()
        self._reopening = asyncio.Lock()
        self._batcher = batcher
        self._metrics = ModelMetrics(metrics, name)
        self._requests = 0
        self._metrics.queue.set_function(lambda: self._requests)
        batch, observe = self._open.predictor.runtime.batch_texts, self._metrics.batch_texts.observe
        self._queue = Queue(name, self._compute, BATCHES * batch, observe, most=(1 + limits.queue) * batch)
        self._long_jobs = Queue(name, self._compute, batch, observe)
        batcher.add(self._queue)
        batcher.add(self._long_jobs)

    @property
    def artifact(self) -> Artifact:
        """The artifact that is served."""
        return self._open.artifact

    @property
    def predictor(self) -> Predictor:
        """The open model."""
        return self._open.predictor

    @property
    def has_room(self) -> bool:
        """Whether a request may wait for the model."""
        return self._batcher.has_room(self._queue)

    def _compute(self, texts: list[str]) -> Answers:
        return self._open.answers(texts)

    async def classify(self, texts: Sequence[str], *, long: bool = False) -> Answers:
        """Label texts together with those of other requests. Cancelled, it frees its place in the queue.

        A part of a `long` job waits in a queue of its own, which is never full. Batches of both are computed in turn.

        Raises:
            RequestError: there are too many or too long texts (413), the queue is full (429), or the model fails (500).
        """
        started, outcome = time.perf_counter(), "refused"
        queue = self._long_jobs if long else self._queue
        try:
            self.limits.check_texts(texts)
            if not self._batcher.has_room(queue):
                raise RequestError.overloaded()
            outcome = "failed"
            self._requests += 1
            try:
                answers = await self._answers(list(texts), queue)
            finally:
                self._requests -= 1
            outcome = "answered"
        except asyncio.CancelledError:
            outcome = "left"
            raise
        finally:
            self._metrics.requests[outcome].inc()
        seconds = time.perf_counter() - started
        self._metrics.texts.inc(len(texts))
        self._metrics.seconds.observe(seconds)
        return replace(answers, ms=seconds * 1e3)

    async def _answers(self, texts: list[str], queue: Queue) -> Answers:
        """The answers of one artifact. A request of more than one batch lets others in between."""
        size, parts = queue.texts, list[Answers]()
        for start in range(0, max(len(texts), 1), size):
            try:
                parts.append(await self._batcher.ask(queue, texts[start : start + size]))
            except Exception as error:
                raise RequestError(500, "the model failed with these texts; the server goes on") from error
        if any(part.id != parts[0].id for part in parts):  # reopened in between
            return await self._answers(texts, queue)
        return joined(parts)

    async def reload(self) -> None:
        """Open the artifact's folder again, and serve what is there; what was served goes on if that fails.

        Raises:
            RequestError: it cannot be opened, or does not reproduce its probe (422).
        """
        async with self._reopening:
            try:
                self._open = await asyncio.to_thread(self._reopen)
            except UserError as error:
                raise RequestError(422, f"{error}; {self.name} goes on as it was") from None


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

    @property
    def have_room(self) -> bool:
        """Whether a request may wait for one of them."""
        return any(model.has_room for model in self._models.values())

    def named(self, name: str | None) -> ServedModel:
        """The model of that name; None is the default.

        Raises:
            RequestError: there is none (404).
        """
        chosen = next(iter(self._models)) if name is None else name
        if chosen not in self._models:
            raise RequestError(404, f"model: got {chosen[:200]!r}, should be one of {', '.join(self._models)}")
        return self._models[chosen]
