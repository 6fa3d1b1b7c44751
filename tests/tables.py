"""Read tables of texts in tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chirplet.data.table.reader import Format, read_table


def read_rows(
    path: str | Path,
    format: Format | None = None,  # noqa: A002
    encoding: str = "utf-8",
    quoted: bool = True,
) -> Iterator[dict[str, Any]]:
    """Only the cells of each row; for the arguments see `read_table`."""
    with read_table(path, format, encoding, quoted) as table:
        for row in table:
            yield row.cells
