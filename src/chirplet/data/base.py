"""Base class of the data sources, and the classes of raw and prepared data."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from chirplet.config.schema import Count, Fraction, Index, Settings
from chirplet.system.hashing import file_hash

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Examples:
    """Tweets of one split, in the order of their source.

    Attributes:
        row_id: position of each tweet in its source (`FILE:ROW`, rows from 1).
        text: each tweet's text, after repair and before cleaning.
        label: index of each tweet's label in `Corpus.labels`, shape (n,), int64.
        date: each tweet's date in ISO 8601, or None.
    """

    row_id: list[str]
    text: list[str]
    label: NDArray[np.int64]
    date: list[str | None]

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """The tweets at these positions, in this order."""
        positions = rows.tolist()
        return Examples(
            row_id=[self.row_id[i] for i in positions],
            text=[self.text[i] for i in positions],
            label=self.label[rows],
            date=[self.date[i] for i in positions],
        )

    def joined(self, other: "Examples") -> "Examples":
        """These tweets, followed by those of `other`."""
        return Examples(
            row_id=self.row_id + other.row_id,
            text=self.text + other.text,
            label=np.concatenate([self.label, other.label]),
            date=self.date + other.date,
        )


REASONS = {
    "rare": "of rare labels",
    "blank": "blank",
    "leak_test": "also in test",
    "leak_val": "also in val",
    "conflict": "with conflicting labels",
    "duplicate": "duplicates",
}
"""Why tweets are dropped, by the keys of `DataReport.dropped`."""


@dataclass(frozen=True)
class DataReport:
    """Findings and repairs in a source; counts are tweets unless stated otherwise.

    Attributes:
        read: rows of each set that the source defines.
        repaired: cells by the repair that changed them (`utf8`, `mojibake`, `html`, ...); `encoding` counts cells that
            were damaged by a wrong encoding of any kind.
        repaired_cells: cells that any repair changed.
        found: `blank`, `duplicate` (without the first of its text), `conflict` (the same text has several labels) and
            `conflict_texts` (texts, not tweets) in all sets of the source; `leak_val` and `leak_test`, train tweets
            whose text is also in val or test; `rare`, tweets of labels with too few.
        dropped: tweets dropped from train, each for the first of these reasons: blank, leak_test, leak_val, conflict,
            duplicate. `rare` tweets were dropped from all sets before the split.
        examples: up to five row ids of each finding.
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

    def left_out(self) -> str:
        """How many tweets are in no split, and why; empty if none was dropped."""
        reasons = [f"{count:,} {REASONS[reason]}" for reason, count in self.dropped.items() if count]
        total = f"{sum(self.dropped.values()):,} of {sum(self.read.values()):,}"
        return f"{total} left out: {', '.join(reasons)}" if reasons else ""


@dataclass(frozen=True)
class Corpus:
    """Three splits and their labels in order (most negative first, if that has a meaning).

    `fingerprint` is a SHA-256 of the labels and of every tweet's split, row id, text and label. Two corpora with the
    same fingerprint have the same data.
    """

    name: str
    labels: tuple[str, ...]
    train: Examples
    val: Examples
    test: Examples
    fingerprint: str
    report: DataReport

    def split(self, name: Split) -> Examples:
        """The tweets of one split."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def sizes(self) -> dict[str, int]:
        """Number of tweets in each split."""
        return {name: len(self.split(name)) for name in SPLITS}


@dataclass(frozen=True)
class RawExample:
    """One row of a file: text before repair, label by name, date in ISO 8601.

    `redecoded` is true if the reader had to detect the text's encoding, which the report counts as a repair.
    """

    row_id: str
    text: str
    label: str
    date: str | None = None
    redecoded: bool = False


@dataclass(frozen=True)
class RawCorpus:
    """All rows of a source. `splits` has `train`, and `val` and `test` if the source defines them."""

    labels: tuple[str, ...]
    splits: dict[Split, list[RawExample]]


class Source(Settings, ABC):
    """Settings that all sources share; a subclass adds its settings and reads its files.

    If the source has no test set, `test_fraction` of its tweets become one; if it has no validation set,
    `val_fraction`. Both are shares of the source's complete set. With `folds`, validation is fold `fold` of all tweets
    that are not test, and `val_fraction` is ignored.

    A label is rare if the source has fewer than `min_per_label` texts of it, or too few for every split to have one.
    Rare labels are an error, or their texts are dropped, or their label becomes `rare_label`.
    """

    paths: ClassVar[tuple[str, ...]] = ()
    """The fields that hold paths. The cache key contains only their last part, so data can be moved."""

    val_fraction: Fraction
    test_fraction: Fraction
    split_seed: Index
    folds: Count | None
    fold: Index
    repair: bool
    duplicates: Literal["drop", "keep"]
    conflicts: Literal["drop", "keep"]
    leaks: Literal["drop", "keep"]
    min_per_label: Count | None
    rare: Literal["error", "drop", "merge"]
    rare_label: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _splits_exist(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds: got 1, should be 2 or more, or null")
        if self.folds is None and self.fold > 0:
            raise ValueError(f"fold: got {self.fold}, which has no effect without folds; set folds too")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold: got {self.fold}, should be less than folds={self.folds}")
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"val_fraction and test_fraction: got {self.val_fraction:g} and {self.test_fraction:g}, "
                "should add up to less than 1"
            )
        return self

    @property
    def name(self) -> str:
        """The source's name in records and in the cache."""
        return self.option

    @abstractmethod
    def files(self, cache_dir: Path) -> list[Path]:
        """The input files, downloaded if necessary. Their bytes are part of the cache key.

        Raises:
            DataError: a file is missing, cannot be downloaded, or has a wrong hash.
        """

    @abstractmethod
    def read(self, files: list[Path]) -> RawCorpus:
        """All rows of these files.

        Raises:
            DataError: a file is not valid; the message names the file, the row and the fault.
        """


def row_names(files: list[Path]) -> list[str]:
    """Names of these files in row ids: without folders, and numbered if several files have the same name."""
    names = [file.name for file in files]
    return [name if names.count(name) == 1 else f"{i}/{name}" for i, name in enumerate(names, start=1)]


def file_hashes(files: Sequence[str | Path]) -> dict[str, str]:
    """The SHA-256 of each file, by its name in row ids."""
    paths = [Path(file).expanduser() for file in files]
    return {name: file_hash(path) for name, path in zip(row_names(paths), paths, strict=True)}
