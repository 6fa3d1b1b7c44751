"""Batches of tweets of like length, padded to the longest of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from chirplet.data.batching.padding import padded
from chirplet.data.batching.tokens import Tokens

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Shard:
    """Which tweets of every batch are this process's own, where several `processes` train together: one in so many.

    `rank` counts from 0. Like lengths stand together in a batch, so that all processes have about as many tokens.
    """

    rank: int
    processes: int

    def of(self, positions: list[int]) -> list[int]:
        """The own ones; none where there are more processes than tweets."""
        return positions[self.rank :: self.processes]


def text_count(batch: Batch) -> int:
    """Tweets of a batch with labels, those of other processes too."""
    return len(batch.get("whole_labels", batch["labels"]))


class LengthGrouped(Sampler[list[int]]):
    """Shuffled batches whose tweets have about the same length.

    Tweets are shuffled, pools of `pool_batches` batches are sorted by length and cut into batches, and the batches
    are shuffled. The order depends on `seed` and `epoch` alone, so a run can be taken up in the middle of an epoch.
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

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        batches: list[NDArray[np.int64]] = []
        for begin in range(0, len(order), self.pool):
            members = order[begin : begin + self.pool]
            members = members[np.argsort(self.lengths[members], kind="stable")]
            batches += [members[i : i + self.batch_size] for i in range(0, len(members), self.batch_size)]
        random.shuffle(batches)
        start, self.start = self.start, 0
        for batch in batches[start:]:
            yield batch.tolist()


class LengthOrdered(Sampler[list[int]]):
    """All tweets, each batch of like lengths: the least padding, for evaluation.

    The batches come in an order that is shuffled, always in the same way, so that the first few are a fair sample.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int) -> None:
        self.order = np.argsort(lengths, kind="stable")
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for place in np.random.default_rng(0).permutation(len(self)):
            yield self.order[place * self.batch_size : (place + 1) * self.batch_size].tolist()


class Collate:
    """Turns positions into a batch, padded to its longest tweet or the next multiple of `pad_to_multiple_of`.

    The batch holds `input_ids` and `attention_mask`, shape (batch, longest), int64; `position`, shape (batch,);
    `labels`, shape (batch,), where labels are known; and the rows of each array in `beside`, such as a teacher's
    logits, under its name.

    Where it has a `share`, the batch is the part of this process, with data of the whole batch: `whole_labels`, and
    how many tweets and tokens are here and in all, `texts_of` and `tokens_of`, both of shape (2,), and how many
    `processes` there are. One that has no part takes the first tweet instead, for the shapes' sake, and counts 0 here.
    """

    def __init__(
        self,
        tokens: Tokens,
        labels: NDArray[np.int64] | None,
        pad_id: int,
        pad_to_multiple_of: int = 1,
        extra: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.tokens = tokens
        self.labels = labels
        self.pad_id = pad_id
        self.pad_to_multiple_of = pad_to_multiple_of
        self.extra = extra or {}
        self.shard: Shard | None = None

    def __call__(self, positions: list[int]) -> Batch:
        if self.shard is None:
            return self._batch(positions)
        own = self.shard.of(positions)
        batch = self._batch(own or positions[:1])
        batch["processes"] = torch.tensor(self.shard.processes)
        batch["texts_of"] = torch.tensor([len(own), len(positions)])
        batch["tokens_of"] = torch.tensor([self._count(own), self._count(positions)])
        if self.labels is not None:
            batch["whole_labels"] = torch.from_numpy(self.labels[positions])
        return batch

    def _count(self, positions: list[int]) -> int:
        """Tokens of these tweets."""
        offsets, places = self.tokens.offsets, np.asarray(positions, dtype=np.int64)
        return int((offsets[places + 1] - offsets[places]).sum())

    def _batch(self, positions: list[int]) -> Batch:
        input_ids, attention_mask = padded(self.tokens, positions, self.pad_id, self.pad_to_multiple_of)
        batch = {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask),
            "position": torch.tensor(positions),
        }
        if self.labels is not None:
            batch["labels"] = torch.from_numpy(self.labels[positions])
        for name, rows in self.extra.items():
            batch[name] = torch.from_numpy(np.asarray(rows[positions]))
        return batch


class ResumableLoader(DataLoader[Any]):
    """A loader that Lightning can save and take up again in the middle of an epoch."""

    def __init__(self, sampler: LengthGrouped, collate: Collate) -> None:
        super().__init__(
            range(len(sampler.lengths)),  # type: ignore[arg-type]
            batch_sampler=sampler,
            collate_fn=collate,
            # A loader draws a seed for its workers when it starts; from the global generator, a resumed run would
            # draw once more than the one it resumes from.
            generator=torch.Generator(),
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
        """Where the loader stands: the epoch and the batches it has served in it."""
        return {"epoch": self.grouped.epoch, "served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches already served; after a finished epoch, with the next one."""
        finished, self.grouped.start = divmod(state["served"], len(self.grouped))
        self.grouped.epoch = state["epoch"] + finished


def training_loader(
    tokens: Tokens,
    labels: NDArray[np.int64],
    pad_id: int,
    batch_size: int,
    seed: int,
    pool_batches: int,
    pad_to_multiple_of: int = 1,
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> ResumableLoader:
    """Seeded, shuffled, length-grouped batches; `pool_batches` as in `LengthGrouped`, the others as in `Collate`."""
    collate = Collate(tokens, labels, pad_id, pad_to_multiple_of, extra)
    return ResumableLoader(LengthGrouped(tokens.lengths, batch_size, seed, pool_batches), collate)


def evaluation_loader(
    tokens: Tokens, labels: NDArray[np.int64] | None, pad_id: int, batch_size: int, pad_to_multiple_of: int = 1
) -> DataLoader[Any]:
    """Every tweet once, among others of its length; `position` is the index of each."""
    return DataLoader(
        range(len(tokens)),  # type: ignore[arg-type]
        batch_sampler=LengthOrdered(tokens.lengths, batch_size),
        collate_fn=Collate(tokens, labels, pad_id, pad_to_multiple_of),
        generator=torch.Generator(),
    )
