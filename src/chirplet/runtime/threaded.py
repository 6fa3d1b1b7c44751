"""How a batch is cut for threads that each compute some texts of it alone."""

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.padding import Ids
from chirplet.runtime.base import Runtime
from chirplet.runtime.probe import OPENING, Probe

logger = logging.getLogger(__name__)

PART = 8
"""Texts that one thread computes at a time where there are enough for all: threads that share a product wait for each
other at each, and what passes between the layers of so few stays in the cache."""

OPENING_LOCK = Lock()
"""So that what is opened when it is first needed is opened once, however many threads need it first."""

Feed = dict[str, Ids]
Logits = NDArray[np.float32]


class PartwiseRuntime(Runtime):
    """All threads work on one small batch together; of a large one each takes parts of its own.

    That is so where parts answer the probe as whole batches do; elsewhere all batches are computed together.
    """

    parts_are_right: bool = True
    """Whether parts are computed where there is no probe to ask."""

    @abstractmethod
    def together(self, feed: Feed) -> Logits:
        """Logits of a batch, by all threads."""

    @abstractmethod
    def alone(self) -> Callable[[Feed], Logits]:
        """What gives logits of a part in the thread that calls it, of several at the same time; opened once."""

    def logits(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        return next(self.logits_of_each([(input_ids, attention_mask)]))

    def logits_of_each(self, batches: Iterable[tuple[Ids, Ids]]) -> Iterator[Logits]:
        """As of every runtime; a thread that has no part left goes on with the next batch."""
        begun: deque[list[Future[Logits]]] = deque()
        for batch in batches:
            feeds = parts(*batch, self.threads)
            apart = None if len(feeds) == 1 else self._opened_apart()
            if apart is None:
                yield from _finished(begun, 0)
                yield self.together(feeds[0] if len(feeds) == 1 else _part(*batch))
            else:
                pool, alone = apart
                begun.append([pool.submit(alone, feed) for feed in feeds])
                yield from _finished(begun, 1)
        yield from _finished(begun, 0)

    @property
    def computes_parts(self) -> bool:
        """Whether threads compute parts of a large batch of their own: there are several, and the probe agrees."""
        return self.threads > 1 and self._opened_apart() is not None

    def _opened_apart(self) -> tuple[ThreadPoolExecutor, Callable[[Feed], Logits]] | None:
        with OPENING_LOCK:
            return self._apart

    @cached_property
    def _apart(self) -> tuple[ThreadPoolExecutor, Callable[[Feed], Logits]] | None:
        if self.probe is None and not self.parts_are_right:
            return None
        pool, alone = ThreadPoolExecutor(self.threads), self.alone()
        if self.probe is None or (distance := _distance(self.probe, pool, alone)) <= self.probe.accepted:
            return pool, alone
        pool.shutdown()
        logger.warning(
            "%s: threads that compute parts of a batch answer the probe otherwise (logits are off by %.3g, %.3g is "
            "accepted): all threads compute one batch together",
            self.name, distance, self.probe.accepted,
        )  # fmt: skip
        return None


def _distance(probe: Probe, pool: ThreadPoolExecutor, alone: Callable[[Feed], Logits]) -> float:
    """As of the probe, with as many texts at the same time as the pool has threads."""
    answers = pool.map(alone, (_part(*asked) for asked in probe.asked(OPENING)))
    return max(probe.off(answer, batch) for batch, answer in zip(OPENING, answers, strict=True))


def _finished(begun: deque[list[Future[Logits]]], rest: int) -> Iterator[Logits]:
    """Logits of the batches that were begun, in order, but for the last `rest`."""
    while len(begun) > rest:
        yield np.concatenate([part.result() for part in begun.popleft()])


def parts(input_ids: Ids, attention_mask: Ids, threads: int) -> list[Feed]:
    """The batch (batch, tokens) by parts of `PART` texts, in order; one part where all threads compute it together.

    Parts are without the columns that are padding in all of their texts. There are several where there is more than
    one thread, and a part for each.
    """
    apart = threads > 1 and len(input_ids) >= threads * PART
    size = PART if apart else len(input_ids)
    return [_part(input_ids[i : i + size], attention_mask[i : i + size]) for i in range(0, len(input_ids), size)]


def _part(input_ids: Ids, attention_mask: Ids) -> Feed:
    longest = int(attention_mask.sum(axis=1).max())
    return {
        name: np.ascontiguousarray(values[:, :longest])
        for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask))
    }
