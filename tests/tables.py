"""Read tables of texts in tests."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from chirplet.config.schema import validate
from chirplet.data.table.dialect import Dialect, TableSettings
from chirplet.data.table.files import format_of, open_bytes
from chirplet.data.table.json_lines import json_objects
from chirplet.data.table.parquet import open_parquet
from chirplet.data.table.reader import open_text, read_table
from places import CONF


def read_rows(path: str | Path, columns: Sequence[str] | None = None, **dialect: Any) -> Iterator[dict[str, Any]]:
    """Only the cells of each row, by default of all columns; for the other arguments see `Dialect`."""
    written = Dialect(**dialect)
    with read_table(path, columns_of(path, written) if columns is None else columns, written) as table:
        for row in table:
            yield row.cells


def columns_of(path: str | Path, dialect: Dialect) -> list[str]:
    """The columns of a file; of JSONL the keys of its first row."""
    kind, name = format_of(path, dialect.format), str(path)
    with open_bytes(path) as stream:
        if kind == "parquet":
            return open_parquet(stream, name).schema_arrow.names
        if kind == "jsonl":
            return list(next(json_objects(stream, dialect.encoding, name))[1])
        return open_text(stream, name, Dialect(**{**vars(dialect), "format": kind}), []).columns


def table_settings(**changes: Any) -> TableSettings:
    """The settings of `conf/data/_table.yaml` with these changes."""
    keys = yaml.safe_load((CONF / "data" / "_table.yaml").read_text(encoding="utf-8"))
    settings: TableSettings = validate(TableSettings, keys | changes)
    return settings
