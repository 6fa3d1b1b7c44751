"""What every data source is: settings that read raw rows, and the one way from raw rows to a `Corpus`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chirplet.config import Count, Fraction, Index, Settings
from chirplet.data.corpus import Split


@dataclass(frozen=True)
class RawTweet:
    """One row as its file has it: text not yet repaired, label by name, or None for a label that is to be left out."""

    row_id: str
    text: str
    label: str
    date: str | None = None


@dataclass(frozen=True)
class RawCorpus:
    """What a source read. `splits` has `train` and whichever of `val` and `test` the source itself defines."""

    labels: tuple[str, ...]
    splits: dict[Split, list[RawTweet]]


class Source(Settings, ABC):
    """Settings that all sources share; a source adds its own and says how to find and read its files."""

    val_fraction: Fraction
    test_fraction: Fraction
    split_seed: Index
    folds: Count | None
    fold: Index
    repair: bool
    duplicates: Literal["drop", "keep"]
    conflicts: Literal["drop", "keep"]
    leaks: Literal["drop", "keep"]

    @property
    def name(self) -> str:
        """The name the record and the cache know this source by."""
        return type(self).__module__.rpartition(".")[2]

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
