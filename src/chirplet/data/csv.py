"""Table files of the user."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from chirplet.config.schema import as_list
from chirplet.data.base import RawCorpus, RawExample, Source, Split, row_names
from chirplet.data.preparation.label_names import alike, check_spelling, check_trained, mapping_hint
from chirplet.data.table.cell import cell_text
from chirplet.data.table.dialect import Column, TableSettings
from chirplet.data.table.files import check_readers, format_of, table_files
from chirplet.data.table.reader import read_table
from chirplet.system.error import DataError, near
from chirplet.system.progress import counted

_MOST_LABELS, _FEW_TEXTS = 100, 3
"""More labels than this, with fewer texts than this on average, are probably a wrong column if they are not listed."""


class Csv(TableSettings, Source):
    """Tweets from CSV, TSV, Parquet, JSONL or Excel files with named columns.

    Labels: the listed ones in their order, else those that occur, sorted (numerically if all are integers). Numbers and
    booleans are compared as text: 1 and "1" are the same label, and of a typed file 1.0 is 1, true is True. `label_map`
    renames labels before, and leaves out the rows of those that it maps to null.
    Licence and source: the user's.
    """

    paths: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    train: str | list[str]
    val: str | list[str] | None
    test: str | list[str] | None
    label_column: Column
    date_column: Column | None
    date_format: str | None
    labels: list[str | int | bool] | None
    empty_labels: Literal["error", "drop"]
    label_map: dict[str | int | float, str | int | float | None] | None

    @field_validator("train", "val", "test")
    @classmethod
    def _files_exist(cls, paths: str | list[str] | None) -> list[str] | None:
        if paths == []:
            raise ValueError("got [], should be one file or more")
        return None if paths is None else table_files(paths, "a table of tweets")

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: list[str | int | bool] | None) -> list[str | int | bool] | None:
        if labels is not None and (len(set(map(str, labels))) < len(labels) or len(labels) < 2):
            raise ValueError(f"got {labels}, should be two or more different labels")
        return labels

    @field_validator("label_map")
    @classmethod
    def _texts(cls, pairs: dict[Any, Any] | None) -> dict[str, str | None] | None:
        return pairs and {str(old): None if new is None else str(new) for old, new in pairs.items()}

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        files = self.files(Path())
        try:
            for file in files:
                format_of(file, self.format)
        except DataError as error:
            raise ValueError(f"train, val, test: {error}") from None
        resolved = [file.resolve() for file in files]
        if len(set(resolved)) < len(resolved):
            twice = next(file for file, path in zip(files, resolved, strict=True) if resolved.count(path) > 1)
            raise ValueError(f"train, val, test: got the file {str(twice)!r} twice, should be different files")
        return self

    def check_needs(self) -> None:
        super().check_needs()
        check_readers(self.files(Path()), self.format)

    def files(self, cache_dir: Path) -> list[Path]:
        """The files of train, val and test, in this order."""
        return [Path(path).expanduser() for paths in (self.train, self.val, self.test) for path in as_list(paths)]

    def read(self, files: list[Path]) -> RawCorpus:
        """All rows of all files."""
        sets: dict[Split, Any] = {"train": self.train, "val": self.val, "test": self.test}
        roles = [split for split, paths in sets.items() for _ in as_list(paths)]
        listed = None if self.labels is None else [str(label) for label in self.labels]
        splits: dict[Split, list[RawExample]] = {}
        seen: set[str] = set()
        for role, file, prefix in zip(roles, files, row_names(files), strict=True):
            rows = self._read(file, prefix, listed, seen)
            splits.setdefault(role, []).extend(counted(rows, f"reading {file.name}"))
        unknown = next((label for label in self.label_map or {} if label not in seen), None)
        if unknown is not None:
            raise DataError(f"data.label_map: got {unknown!r}, which is the label of no row{near(str(unknown), seen)}")
        if listed is None:
            check_spelling(splits)
            listed = _sorted({tweet.label for tweets in splits.values() for tweet in tweets})
            if len(listed) > _MOST_LABELS and sum(map(len, splits.values())) < _FEW_TEXTS * len(listed):
                shown = ", ".join(map(repr, listed[:3]))
                raise DataError(
                    f"{', '.join(map(str, files))}: the column {self.label_column!r} has {len(listed):,} different "
                    f"values ({shown}, ...); should be labels; if they are, list them in data.labels"
                )
        check_trained(splits)
        return RawCorpus(tuple(listed), splits)

    def _read(self, file: Path, prefix: str, listed: list[str] | None, seen: set[str]) -> Iterator[RawExample]:
        """The rows of a file; all their labels are added to `seen`, before `label_map` renames them."""
        text, label = str(self.text_column), str(self.label_column)
        date = None if self.date_column is None else str(self.date_column)
        with read_table(file, [text, label, *([] if date is None else [date])], self.dialect) as table:
            empty = True
            for row in table:
                empty = False
                row_name = f"{file} row {row.number}"
                written = cell_text(row.cells[label], f"{row_name}: {label!r}").strip()
                if not written and self.empty_labels == "drop":
                    continue
                if not written:
                    remedy = "data.empty_labels=drop leaves out such rows"
                    raise DataError(f"{row_name}: {label!r} is empty, should be a label; {remedy}")
                seen.add(written)
                name = (self.label_map or {}).get(written, written)
                if name is None:
                    continue
                yield RawExample(
                    row_id=f"{prefix}:{row.number}",
                    text=table.text(row, text),
                    label=_listed(str(name), listed, label, row_name),
                    date=None if date is None else _date(row.cells[date], self.date_format, row_name),
                    redecoded=text in row.redecoded,
                )
            if empty:
                raise DataError(f"{file}: has a header but no rows")


def _listed(label: str, listed: Sequence[str] | None, column: str, row_name: str) -> str:
    if listed is not None and label not in listed:
        same = alike(label, listed)
        hint = near(label, listed) if same is None else f"; looks like {same!r}: {mapping_hint({label: same})} maps it"
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
