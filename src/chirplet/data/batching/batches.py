"""Batches of tweets of similar length, padded to the longest tweet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from chirplet.data.batching.padding import PadTo, Positions, padded
from chirplet.data.batching.tokens import Tokens

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Shard:
    """The part of every batch that this process computes: each `processes`-th tweet from `rank` (from 0) on.

    Batches are sorted by length, so all processes have about the same number of tokens.
    """

    rank: int
    processes: int

    def of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions of this process; empty if there are fewer tweets than processes."""
        return positions[self.rank :: self.processes]


def text_count(batch: Batch) -> int:
    """Number of tweets of a batch with labels, over all processes."""
    return len(batch.get("whole_labels", batch["labels"]))


class LengthGrouped(Sampler[NDArray[np.int64]]):
    """Shuffled batches whose tweets have about the same length.

    Tweets are shuffled, pools of `pool_batches` batches are sorted by length and cut into batches, and the batches are
    shuffled. The order depends only on `seed` and `epoch`, so a run can be resumed in the middle of an epoch.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int, pool_batches: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.pool = pool_batches * batch_size
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        batches: list[NDArray[np.int64]] = []
        for begin in range(0, len(order), self.pool):
            members = order[begin : begin + self.pool]
            members = members[np.argsort(self.lengths[members], kind="stable")]
            batches += [members[i : i + self.batch_size] for i in range(0, len(members), self.batch_size)]
        random.shuffle(batches)
        start, self.start = self.start, 0
        yield from batches[start:]


class LengthOrdered(Sampler[NDArray[np.int64]]):
    """All tweets in batches of similar length, with the least padding, for evaluation.

    The order of the batches is shuffled with a fixed seed, so that the first few are a fair sample.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int) -> None:
        self.order = np.argsort(lengths, kind="stable")
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for index in np.random.default_rng(0).permutation(len(self)):
            yield self.order[index * self.batch_size : (index + 1) * self.batch_size]


class Collate:
    """Makes a batch from positions, padded to the length that `pad_to` gives for its longest tweet.

    The batch has `input_ids` and `attention_mask`, shape (batch, padded length), int64; `position`, shape (batch,);
    `labels`, shape (batch,), if labels are known; and the rows of each array in `extra`, for example a teacher's
    logits, under its name.

    With a `shard`, the batch is this process's part of the whole batch, and also has `whole_labels`; `texts_of` and
    `tokens_of`, the numbers of tweets and tokens in this part and in the whole batch, shape (2,); and `processes`, the
    number of processes. A process without a tweet gets the first tweet, to keep the shapes valid, counted as 0.
    """

    def __init__(
        self,
        tokens: Tokens,
        labels: NDArray[np.int64] | None,
        pad_id: int,
        pad_to: PadTo = 1,
        extra: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.tokens = tokens
        self.labels = labels
        self.pad_id = pad_id
        self.pad_to = pad_to
        self.extra = extra or {}
        self.shard: Shard | None = None

    def __call__(self, positions: Positions) -> Batch:
        whole = np.asarray(positions, np.int64)
        if self.shard is None:
            return self._batch(whole)
        local = self.shard.of(whole)
        batch = self._batch(local if len(local) else whole[:1])
        batch["processes"] = torch.tensor(self.shard.processes)
        batch["texts_of"] = torch.tensor([len(local), len(whole)])
        batch["tokens_of"] = torch.tensor([self._count(local), self._count(whole)])
        if self.labels is not None:
            batch["whole_labels"] = torch.from_numpy(self.labels[whole])
        return batch

    def _count(self, positions: NDArray[np.int64]) -> int:
        """Number of tokens of these tweets."""
        offsets = self.tokens.offsets
        return int((offsets[positions + 1] - offsets[positions]).sum())

    def _batch(self, positions: NDArray[np.int64]) -> Batch:
        input_ids, attention_mask = padded(self.tokens, positions, self.pad_id, self.pad_to)
        batch = {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask),
            "position": torch.from_numpy(positions.copy()),
        }
        if self.labels is not None:
            batch["labels"] = torch.from_numpy(self.labels[positions])
        for name, rows in self.extra.items():
            batch[name] = torch.from_numpy(np.asarray(rows[positions]))
        return batch


class _Positions(Dataset[NDArray[np.int64]]):
    """The positions of n tweets, from which `Collate` makes batches: a loader gets those of a batch in one step."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitems__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return positions


class ResumableLoader(DataLoader[Any]):
    """A loader that Lightning can save and resume in the middle of an epoch."""

    def __init__(self, sampler: LengthGrouped, collate: Collate, pin_memory: bool) -> None:
        super().__init__(
            _Positions(len(sampler.lengths)),
            batch_sampler=sampler,  # type: ignore[arg-type]
            collate_fn=collate,
            # A loader draws a seed for its workers when it starts. With the global generator, a resumed run would draw
            # once more than an uninterrupted one.
            generator=torch.Generator(),
            pin_memory=pin_memory,
        )
        self.grouped = sampler
        self.served = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.served = self.grouped.start
        for batch in super().__iter__():
            self.served += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for this epoch from the next iteration on."""
        self.grouped.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of batches served in it."""
        return {"epoch": self.grouped.epoch, "served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume after the batches already served, or with the next epoch if all were."""
        finished, self.grouped.start = divmod(state["served"], len(self.grouped))
        self.grouped.epoch = state["epoch"] + finished


def training_loader(
    tokens: Tokens,
    labels: NDArray[np.int64],
    pad_id: int,
    batch_size: int,
    seed: int,
    pool_batches: int,
    pad_to: PadTo = 1,
    extra: Mapping[str, NDArray[Any]] | None = None,
    pin_memory: bool = False,
) -> ResumableLoader:
    """Seeded, shuffled, length-grouped batches; for the arguments see `LengthGrouped` and `Collate`.

    With `pin_memory`, batches are in page-locked memory, from which a GPU copies while the program runs on.
    """
    collate = Collate(tokens, labels, pad_id, pad_to, extra)
    return ResumableLoader(LengthGrouped(tokens.lengths, batch_size, seed, pool_batches), collate, pin_memory)


def evaluation_loader(
    tokens: Tokens,
    labels: NDArray[np.int64] | None,
    pad_id: int,
    batch_size: int,
    pad_to: PadTo = 1,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Every tweet once, in batches of similar length; `position` is each tweet's index in `tokens`."""
    return DataLoader(
        _Positions(len(tokens)),
        batch_sampler=LengthOrdered(tokens.lengths, batch_size),  # type: ignore[arg-type]
        collate_fn=Collate(tokens, labels, pad_id, pad_to),
        generator=torch.Generator(),
        pin_memory=pin_memory,
    )
