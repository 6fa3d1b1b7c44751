"""Requests that wait for a model are computed together.

One thread computes the batches of all models, in turn, since they share the machine's cores.
"""

import asyncio
import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

from chirplet.server.answers import Answers

logger = logging.getLogger(__name__)

Result = tuple["asyncio.Future[Answers]", Answers | Exception]


@dataclass(frozen=True)
class Waiting:
    """The texts of a request, and the future of their answers, which is done if the client has left."""

    texts: list[str]
    answers: "asyncio.Future[Answers]"
    since: float


@dataclass(eq=False)
class Queue:
    """What waits for one model.

    Attributes:
        name: the model's name, for messages.
        compute: labels texts.
        texts: texts of a batch, unless a request has more.
        observe: gets the number of texts of each batch.
        most: texts that may wait or be computed; with as many, further requests should be refused.
        waiting: requests, the oldest first.
        computing: texts of the batch that is computed.
        shared: whether the last batch had several requests.
    """

    name: str
    compute: Callable[[list[str]], Answers]
    texts: int
    observe: Callable[[float], None]
    most: float = math.inf
    waiting: deque[Waiting] = field(default_factory=deque)
    computing: int = 0
    shared: bool = False

    def seconds_left(self, max_wait_s: float) -> float:
        """Seconds until its requests should be computed.

        They wait for others only if there are others: a client that asks one thing after the other gets its answers
        at once.
        """
        if not (self.shared or len(self.waiting) > 1) or sum(len(one.texts) for one in self.waiting) >= self.texts:
            return 0.0
        return self.waiting[0].since + max_wait_s - time.monotonic()

    @property
    def has_room(self) -> bool:
        """Whether another request may wait; if no other does, it always may."""
        waiting = [len(one.texts) for one in self.waiting if not one.answers.done()]
        return not waiting or sum(waiting) + self.computing < self.most

    def batch(self) -> list[Waiting]:
        """Take the requests of the next batch, without those whose client has left."""
        taken, texts = list[Waiting](), 0
        while self.waiting and (not taken or texts + len(self.waiting[0].texts) <= self.texts):
            one = self.waiting.popleft()
            if not one.answers.done():
                taken.append(one)
                texts += len(one.texts)
        self.shared, self.computing = len(taken) > 1, texts
        return taken


class Batcher:
    """The thread that computes; a request waits at most `max_wait_ms` for others while the thread has nothing to do."""

    def __init__(self, max_wait_ms: float) -> None:
        self._max_wait_s = max_wait_ms / 1e3
        self._queues = deque[Queue]()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def add(self, queue: Queue) -> None:
        """Compute what waits in another queue, too."""
        with self._changed:
            self._queues.append(queue)

    def has_room(self, queue: Queue) -> bool:
        """Whether another request may wait in a queue."""
        with self._changed:
            return queue.has_room

    def ask(self, queue: Queue, texts: list[str]) -> "asyncio.Future[Answers]":
        """The future answers to texts; cancelled if they are not to be computed any more."""
        waiting = Waiting(texts, asyncio.get_running_loop().create_future(), time.monotonic())
        with self._changed:
            queue.waiting.append(waiting)
            self._changed.notify()
        return waiting.answers

    def close(self) -> None:
        """Compute what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            queue, batch = taken
            if batch:
                results = list(_results(queue, batch))
                with self._changed:
                    queue.computing = 0
                with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
                    batch[0].answers.get_loop().call_soon_threadsafe(_deliver, results)

    def _next(self) -> tuple[Queue, list[Waiting]] | None:
        """Wait for a queue whose requests should be computed, and take a batch of it; None at the end."""
        with self._changed:
            while True:
                soonest = None
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    self._queues.rotate(-1)
                    if queue.waiting:
                        left = 0.0 if self._closed else queue.seconds_left(self._max_wait_s)
                        if left <= 0:
                            return queue, queue.batch()
                        soonest = left if soonest is None else min(left, soonest)
                if self._closed:
                    return None
                self._changed.wait(soonest)


def _results(queue: Queue, batch: list[Waiting]) -> Iterator[Result]:
    """The answers to each request. If the batch fails, each is computed alone, so that only those fail that have to."""
    texts = [text for one in batch for text in one.texts]
    ends = list(accumulate(len(one.texts) for one in batch))
    try:
        answers = queue.compute(texts)
        parts = [answers.part(end - len(one.texts), end) for one, end in zip(batch, ends, strict=True)]
        queue.observe(len(texts))
    except Exception as error:
        if len(batch) == 1:
            logger.error("%s: a request of %d texts failed: %s", queue.name, len(texts), without_texts(error))
            yield batch[0].answers, error
        else:
            for one in batch:
                yield from _results(queue, [one])
    else:
        for one, part in zip(batch, parts, strict=True):
            yield one.answers, part


def _deliver(results: list[Result]) -> None:
    for future, result in results:
        if future.done():  # the client has left
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def without_texts(error: Exception) -> str:
    """The class of an error and where it was raised. Its message may have texts, which belong in no log."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
