"""The cells of typed tables (Parquet, JSONL, Excel) as text."""

from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from chirplet.data.table.text_io import FIELD_LIMIT
from chirplet.system.error import DataError


def cell_text(value: Any, where: str) -> str:
    """The text of a cell: a null or NaN is empty, and 1.0 is 1, because columns of integers with nulls have decimals.

    Raises:
        DataError: it is a list, an object or bytes, too long, or half a character; the message begins with `where`.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return _checked(value, where)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool | int | float | Decimal | date | time | timedelta):
        return str(value)
    raise DataError(f"{where} is {str(value)[:40]}, should be text")


def _checked(text: str, where: str) -> str:
    if text.isascii() and len(text) <= FIELD_LIMIT:
        return text
    if len(text) > FIELD_LIMIT:
        raise DataError(f"{where} has {len(text):,} characters, should be at most {FIELD_LIMIT:,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise DataError(f"{where} has a lone surrogate ({half}, half of an emoji?)") from None
    return text
