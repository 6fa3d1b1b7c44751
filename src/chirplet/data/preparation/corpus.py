"""A labelled set of tweets, split, with an account of what was done to it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Tweets:
    """Tweets of one split, in the order of their source.

    `row_id[i]` tells where tweet i stands in its source (`FILE:ROW`, rows from 1), `text[i]` is repaired but not
    cleaned, `label[i]` indexes `Corpus.labels` (shape (n,), int64), `date[i]` is ISO 8601 or None.
    """

    row_id: list[str]
    text: list[str]
    label: NDArray[np.int64]
    date: list[str | None]

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: NDArray[np.int64]) -> "Tweets":
        """The tweets at these positions, in this order."""
        positions = rows.tolist()
        return Tweets(
            row_id=[self.row_id[i] for i in positions],
            text=[self.text[i] for i in positions],
            label=self.label[rows],
            date=[self.date[i] for i in positions],
        )

    def joined(self, other: "Tweets") -> "Tweets":
        """These tweets, then the other's."""
        return Tweets(
            row_id=self.row_id + other.row_id,
            text=self.text + other.text,
            label=np.concatenate([self.label, other.label]),
            date=self.date + other.date,
        )


@dataclass(frozen=True)
class DataReport:
    """What was found in a source and what was done about it; counts are tweets unless said otherwise.

    `read` counts the rows of each set the source itself defines. `repaired` counts cells by the repair that changed
    them (`utf8`, `mojibake`, `html`, ...; `encoding` are those a wrong encoding had damaged, by whichever of them),
    `repaired_cells` those that any of them changed.

    `found` counts `blank`, `duplicate` (beyond the first with its text), `conflict` (their text stands with several
    labels) and `conflict_texts` (texts, not tweets) in each of the source's own sets, and `leak_val` and `leak_test`,
    train tweets whose text stands in val or test. `dropped` counts the train tweets left out, each for one reason:
    blank, else leak_test, leak_val, conflict, duplicate. `examples` holds up to five row ids for each of these.
    """

    read: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    repaired_cells: int = 0
    found: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Corpus:
    """Three splits with their labels in order (most negative first, where that has a meaning).

    `fingerprint` is a SHA-256 over the labels and every tweet's split, row id, text and label: two corpora with
    the same fingerprint are the same data.
    """

    name: str
    labels: tuple[str, ...]
    train: Tweets
    val: Tweets
    test: Tweets
    fingerprint: str
    report: DataReport

    def split(self, name: Split) -> Tweets:
        """The tweets of one split."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def sizes(self) -> dict[str, int]:
        """Number of tweets in each split."""
        return {name: len(self.split(name)) for name in SPLITS}
