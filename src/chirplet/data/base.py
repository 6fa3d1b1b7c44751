"""What every data source is: settings that read raw rows, and the one way from raw rows to a `Corpus`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from chirplet.config.schema import Count, Fraction, Index, Settings
from chirplet.data.preparation.corpus import Split


@dataclass(frozen=True)
class RawTweet:
    """One row as its file has it: text not yet repaired, label by name, date as ISO 8601.

    `redecoded` tells that the reader had to find the text's encoding by itself, which the report counts as a repair.
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
    splits: dict[Split, list[RawTweet]]


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


def row_names(files: list[Path]) -> list[str]:
    """What row ids call these files: their names, numbered where one name stands for several; never their folders."""
    names = [file.name for file in files]
    return [name if names.count(name) == 1 else f"{place}/{name}" for place, name in enumerate(names, start=1)]
