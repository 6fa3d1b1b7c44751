"""Runtimes that split a large batch into parts, one thread per part."""

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from chirplet.data.batching.padding import Ids
from chirplet.runtime.base import Runtime
from chirplet.runtime.probe import OPENING, Probe

logger = logging.getLogger(__name__)

PART = 8
"""Most texts of a part. Threads that share one product wait for each other at every product; and the activations of so
few texts stay in the cache."""

OPENING_LOCK = Lock()
"""Ensures that concurrent first uses open the per-thread model once."""

Feed = dict[str, Ids]
Logits = NDArray[np.float32]


class PartwiseRuntime(Runtime):
    """All threads share a small batch; a large one is split into parts, each computed by one thread.

    Batches are split only if parts reproduce the probe.
    """

    parts_are_right: bool = True
    """Whether batches are split if there is no probe."""
    smallest_part: ClassVar[int] = PART
    """Texts that each thread gets at least; smaller batches are not split."""

    @property
    def batch_texts(self) -> int:
        """A part for each thread."""
        return PART * self.threads

    @abstractmethod
    def together(self, feed: Feed) -> Logits:
        """Logits of a batch, computed by all threads."""

    @abstractmethod
    def alone(self) -> Callable[[Feed], Logits]:
        """Open, once, a thread-safe function that computes logits of a part in the calling thread."""

    def logits(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        return next(self.logits_of_each([(input_ids, attention_mask)]))

    def logits_of_each(self, batches: Iterable[tuple[Ids, Ids]]) -> Iterator[Logits]:
        """Logits of each batch; a thread without a part left starts the next batch."""
        pending: deque[list[Future[Logits]]] = deque()
        for batch in batches:
            feeds = parts(*batch, self.threads, self.smallest_part)
            workers = None if len(feeds) == 1 else self._opened_workers()
            if workers is None:
                yield from _finished(pending, 0)
                yield self.together(feeds[0] if len(feeds) == 1 else _part(*batch))
            else:
                pool, infer = workers
                pending.append([pool.submit(infer, feed) for feed in feeds])
                yield from _finished(pending, 1)
        yield from _finished(pending, 0)

    @property
    def computes_parts(self) -> bool:
        """Whether large batches are split: there are several threads, and parts reproduce the probe."""
        return self.threads > 1 and self._opened_workers() is not None

    def _opened_workers(self) -> tuple[ThreadPoolExecutor, Callable[[Feed], Logits]] | None:
        with OPENING_LOCK:
            return self._workers

    @cached_property
    def _workers(self) -> tuple[ThreadPoolExecutor, Callable[[Feed], Logits]] | None:
        if self.probe is None and not self.parts_are_right:
            return None
        pool, infer = ThreadPoolExecutor(self.threads), self.alone()
        if self.probe is None or (distance := _distance(self.probe, pool, infer)) <= self.probe.accepted:
            return pool, infer
        pool.shutdown()
        logger.warning(
            "%s: parts of a batch do not reproduce the probe (logits differ by %.3g, accepted is %.3g); "
            "batches are not split",
            self.name, distance, self.probe.accepted,
        )  # fmt: skip
        return None


def _distance(probe: Probe, pool: ThreadPoolExecutor, infer: Callable[[Feed], Logits]) -> float:
    """The largest distance from the probe's logits, with one batch per thread at the same time."""
    results = pool.map(infer, (_part(*inputs) for inputs in probe.asked(OPENING)))
    return max(probe.distance_of(logits, batch) for batch, logits in zip(OPENING, results, strict=True))


def _finished(pending: deque[list[Future[Logits]]], rest: int) -> Iterator[Logits]:
    """Logits of the pending batches in order, except for the last `rest`."""
    while len(pending) > rest:
        yield np.concatenate([part.result() for part in pending.popleft()])


def parts(input_ids: Ids, attention_mask: Ids, threads: int, smallest: int = PART) -> list[Feed]:
    """Split a batch, shape (batch, tokens), into equal parts for all threads, of at most `PART` texts.

    It is one part if threads would get fewer than `smallest` texts. Columns that are padding in all texts of a part are
    removed from it.
    """
    split = threads > 1 and len(input_ids) >= threads * smallest
    size = min(PART, -(-len(input_ids) // threads)) if split else len(input_ids)
    return [_part(input_ids[i : i + size], attention_mask[i : i + size]) for i in range(0, len(input_ids), size)]


def _part(input_ids: Ids, attention_mask: Ids) -> Feed:
    longest = int(attention_mask.sum(axis=1).max())
    return {
        name: np.ascontiguousarray(values[:, :longest])
        for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask))
    }
