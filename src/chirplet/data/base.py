"""What every data source is: settings that read raw rows, and the one way from raw rows to a `Corpus`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from chirplet.config.schema import Count, Fraction, Index, Settings
from chirplet.system.hashing import file_hash

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Examples:
    """Tweets of one split, in the order of their source.

    `row_id[i]` is the position of tweet i in its source (`FILE:ROW`, rows from 1), `text[i]` is repaired but not
    cleaned, `label[i]` indexes `Corpus.labels` (shape (n,), int64), `date[i]` is ISO 8601 or None.
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
        """These tweets, then the other's."""
        return Examples(
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
    """One row as its file has it: text not yet repaired, label by name, date as ISO 8601.

    `redecoded`: the reader detected the encoding of the text, which the report counts as a repair.
    """

    row_id: str
    text: str
    label: str
    date: str | None = None
    redecoded: bool = False


@dataclass(frozen=True)
class RawCorpus:
    """What a source read. `splits` has `train` and whichever of `val` and `test` the source itself defines."""

    labels: tuple[str, ...]
    splits: dict[Split, list[RawExample]]


class Source(Settings, ABC):
    """Settings that all sources share; a source adds its own and says how to find and read its files.

    Where the source has no test set, `test_fraction` of its tweets become one; where it has no validation set,
    `val_fraction`. Both are shares of the set they are taken from as the source has it. With `folds`, validation is
    fold `fold` of all that is not test, and `val_fraction` has no say.
    """

    paths: ClassVar[tuple[str, ...]] = ()
    """The fields that hold paths; of these the cache knows the last part only, so data may move."""

    val_fraction: Fraction
    test_fraction: Fraction
    split_seed: Index
    folds: Count | None
    fold: Index
    repair: bool
    duplicates: Literal["drop", "keep"]
    conflicts: Literal["drop", "keep"]
    leaks: Literal["drop", "keep"]

    @model_validator(mode="after")
    def _splits_exist(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds: got 1, should be 2 or more, or null")
        if self.folds is None and self.fold > 0:
            raise ValueError(f"fold: got {self.fold}, which says nothing without folds; set folds too")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold: got {self.fold}, should be less than folds={self.folds}")
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"val_fraction and test_fraction: got {self.val_fraction:g} and {self.test_fraction:g}, "
                "should leave something to train on"
            )
        return self

    @property
    def name(self) -> str:
        """The name the record and the cache know this source by."""
        return self.option

    @abstractmethod
    def files(self, cache_dir: Path) -> list[Path]:
        """The input files, fetched first where that is this source's way. Their bytes key the cache.

        Raises:
            DataError: a file is missing, cannot be fetched, or its hash is wrong.
        """

    @abstractmethod
    def read(self, files: list[Path]) -> RawCorpus:
        """Every row of these files.

        Raises:
            DataError: a file is not what it should be; names the file, the row and what is wrong.
        """


def row_names(files: list[Path]) -> list[str]:
    """What row ids call these files: their names, numbered where one name stands for several; never their folders."""
    names = [file.name for file in files]
    return [name if names.count(name) == 1 else f"{place}/{name}" for place, name in enumerate(names, start=1)]


def file_hashes(files: Sequence[str | Path]) -> dict[str, str]:
    """The SHA-256 of each file, by the name that its rows have."""
    paths = [Path(file).expanduser() for file in files]
    return {name: file_hash(path) for name, path in zip(row_names(paths), paths, strict=True)}
