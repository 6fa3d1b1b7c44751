"""Table files of the user."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import field_validator, model_validator

from chirplet.config.schema import as_list, existing_file
from chirplet.data.base import RawCorpus, RawExample, Source, Split, row_names
from chirplet.data.table.reader import Format, Row, format_of, read_table
from chirplet.data.table.text_io import Encoding
from chirplet.system.error import DataError, near
from chirplet.system.progress import counted

_MOST_LABELS = 100
"""Maximum number of labels that are not listed in the settings; more are probably a wrong column."""


class Csv(Source):
    """Tweets from CSV, TSV, Parquet or JSONL files with named columns.

    Labels: the listed ones in their order, else those that occur, sorted (numerically if all are integers). Numbers are
    compared as text: 1 and "1" are the same label, and 1.0 of a typed file is 1.
    Licence and source: the user's.
    """

    paths: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    train: str | list[str]
    val: str | None
    test: str | None
    text_column: str
    label_column: str
    date_column: str | None
    date_format: str | None
    labels: list[str | int] | None
    format: Format | None
    encoding: Encoding
    quoted: bool

    @field_validator("train", "val", "test")
    @classmethod
    def _files_exist(cls, paths: str | list[str] | None) -> str | list[str] | None:
        for path in as_list(paths):
            existing_file(path, "a table of tweets")
        if paths == []:
            raise ValueError("got [], should be one file or more")
        return paths

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: list[str | int] | None) -> list[str | int] | None:
        if labels is not None and (len(set(map(str, labels))) < len(labels) or len(labels) < 2):
            raise ValueError(f"got {labels}, should be two or more different labels")
        return labels

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        files = self.files(Path())
        try:
            for file in files:
                format_of(file, self.format)
        except DataError as error:
            raise ValueError(str(error)) from None
        resolved = [file.resolve() for file in files]
        if len(set(resolved)) < len(resolved):
            twice = next(file for file, path in zip(files, resolved, strict=True) if resolved.count(path) > 1)
            raise ValueError(f"train, val, test: got the file {str(twice)!r} twice, should be different files")
        return self

    def files(self, cache_dir: Path) -> list[Path]:
        """The files of train, val and test, in this order."""
        return [Path(path).expanduser() for paths in (self.train, self.val, self.test) for path in as_list(paths)]

    def read(self, files: list[Path]) -> RawCorpus:
        """All rows of all files."""
        sets: dict[Split, str | list[str] | None] = {"train": self.train, "val": self.val, "test": self.test}
        roles = [split for split, paths in sets.items() for _ in as_list(paths)]
        listed = None if self.labels is None else [str(label) for label in self.labels]
        splits: dict[Split, list[RawExample]] = {}
        for role, file, prefix in zip(roles, files, row_names(files), strict=True):
            splits.setdefault(role, []).extend(counted(self._read(file, prefix, listed), f"reading {file.name}"))
        if listed is None:
            listed = _sorted({tweet.label for tweets in splits.values() for tweet in tweets})
            if len(listed) > _MOST_LABELS:
                shown = ", ".join(map(repr, listed[:3]))
                raise DataError(
                    f"{', '.join(map(str, files))}: the column {self.label_column!r} has {len(listed):,} different "
                    f"values ({shown}, ...); should be labels; if they are, list them in data.labels"
                )
        return RawCorpus(tuple(listed), splits)

    def _read(self, file: Path, prefix: str, listed: list[str] | None) -> Iterator[RawExample]:
        with read_table(file, self.format, self.encoding, self.quoted) as table:
            table.require(self.text_column, self.label_column, *([self.date_column] if self.date_column else []))
            empty = True
            for row in table:
                empty = False
                row_name = f"{file} row {row.number}"
                yield RawExample(
                    row_id=f"{prefix}:{row.number}",
                    text=_text(row, self.text_column, row_name),
                    label=_label(row.cells[self.label_column], listed, self.label_column, row_name),
                    date=_date(row.cells[self.date_column], self.date_format, row_name) if self.date_column else None,
                    redecoded=self.text_column in row.redecoded,
                )
            if empty:
                raise DataError(f"{file}: has a header but no rows")


def _text(row: Row, column: str, row_name: str) -> str:
    """The cell's text; a null becomes an empty text."""
    value = row.cells[column]
    if value is not None and not isinstance(value, str):
        raise DataError(f"{row_name}: {column!r} is {value!r}, should be text")
    return value or ""


def _label(value: Any, listed: Sequence[str] | None, column: str, row_name: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    label = "" if value is None or value != value else str(value).strip()
    if not label:
        raise DataError(f"{row_name}: {column!r} is empty, should be a label")
    if listed is not None and label not in listed:
        whole = label.removesuffix(".0")
        hint = f"; a column of decimals? write {whole}" if whole in listed else near(label, listed)
        raise DataError(f"{row_name}: {column!r} is {label!r}, should be one of {', '.join(listed)}{hint}")
    return label


def _date(value: Any, form: str | None, row_name: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, date):
        return value.isoformat()
    try:
        return (datetime.fromisoformat(value) if form is None else datetime.strptime(value, form)).isoformat()
    except (TypeError, ValueError):
        raise DataError(
            f"{row_name}: the date is {value!r}, should be {'ISO 8601' if form is None else form}; set data.date_format"
        ) from None


def _sorted(labels: set[str]) -> list[str]:
    try:
        return sorted(labels, key=int)
    except ValueError:
        return sorted(labels)
