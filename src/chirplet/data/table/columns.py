"""Names of columns: made different, and checked."""

from collections.abc import Sequence

from chirplet.system.error import DataError, Key, near

_LONGEST_NAME = 60
_MANY_SPACES = 4
"""A cell of a header with more characters, or with as many spaces, is probably a text."""


def column_names(header: Sequence[str]) -> list[str]:
    """A different name for each column: a nameless one gets its position from 0, a repeated one NAME_POSITION."""
    names: list[str] = []
    for position, cell in enumerate(header):
        name = cell
        if not cell.strip() or cell in names:
            name = f"{cell}_{position}" if cell.strip() else str(position)
            while name in names or name in header:
                name += "_"
        names.append(name)
    return names


def check_columns(
    name: str, wanted: Sequence[str], columns: Sequence[str], header: Sequence[str] = (), key: Key | None = None
) -> None:
    """Check that each wanted column exists once.

    Args:
        name: the file.
        wanted: names of columns.
        columns: names of the file's columns.
        header: the file's first row, if it has names.
        key: the setting that names the column, for the message.

    Raises:
        DataError: a column is missing or repeated; the message names it, the existing columns and the most similar one.
    """
    for column in wanted:
        if [*header].count(column) > 1:
            raise DataError(f"{name}: the header has the column {column!r} more than once; rename one")
        if column not in columns:
            known = ", ".join(repr(one[:_LONGEST_NAME]) for one in columns)
            parts = [f"{name}: no column {column!r}{near(column, columns)}; "]
            parts += ["the columns are ", known] if key is None else ["set ", key, " to one of ", known]
            if header and (column.isdecimal() or _looks_like_data(header)):
                text = max(
                    range(len(header)), key=lambda position: (header[position].count(" "), len(header[position]))
                )
                parts += [
                    "; a file without a header? set ",
                    Key("data.header"),
                    "=false and name columns by position, ",
                ]
                parts += ["for example ", Key("data.text_column"), f"={text}"]
            raise DataError(*parts)


def check_unused(name: str, columns: Sequence[str], added: Sequence[str], prefix: Key) -> None:
    """Check that no column has the name of one that is to be added; `prefix` is the key for other names.

    Raises:
        DataError: a column has.
    """
    taken = next((column for column in columns if column in added), None)
    if taken is not None:
        raise DataError(
            f"{name}: the column {taken!r} exists already and would be overwritten; set ",
            prefix,
            "=predicted_ to give the new columns other names",
        )


def _looks_like_data(header: Sequence[str]) -> bool:
    return any(len(cell) > _LONGEST_NAME or cell.count(" ") >= _MANY_SPACES or _is_number(cell) for cell in header)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
