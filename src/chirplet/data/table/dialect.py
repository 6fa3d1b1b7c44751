"""How a table file is read: the settings that `data=csv`, `stage=predict` and unlabeled files share."""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from chirplet.config.schema import Settings
from chirplet.data.table.files import Format
from chirplet.data.table.text_io import Encoding

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""The delimiters that are detected, by the names that can be given for them."""
QUOTE = '"'


def _delimiter(value: str) -> str:
    character = {**DELIMITERS, r"\t": "\t"}.get(value, value)
    if len(character) != 1 or character.isalnum() or character in '"\\\r\n':
        raise ValueError(f"got {value!r}, should be one character, or one of {', '.join(DELIMITERS)}")
    return character


def _escape(value: str) -> str:
    character = "\\" if value in {"backslash", "\\\\"} else value
    if len(character) != 1 or character.isalnum() or character in '"\r\n':
        raise ValueError(f"got {value!r}, should be one character, for example backslash")
    return character


Delimiter = Annotated[str, AfterValidator(_delimiter)]
"""A character, or its name in `DELIMITERS`."""
Escape = Annotated[str, AfterValidator(_escape)]
"""A character, or `backslash`."""
Column = str | int
"""The name of a column, or its position from 0 in a file without a header."""


@dataclass(frozen=True)
class Dialect:
    """How a table file is written.

    Attributes:
        format: its format; None is that of its suffix.
        encoding: encoding of CSV, TSV and JSONL; `mixed` detects it for each cell of CSV and TSV.
        quoted: whether cells of CSV and TSV may be in double quotes; if not, a quote is an ordinary character.
        delimiter: what separates the cells of CSV and TSV; None detects it.
        escape: the character before a quote that belongs to the cell, beside the doubled quote, which always does.
        header: whether the first row of CSV, TSV and Excel has the columns' names. Else their names are their
            positions: "0", "1", ...
    """

    format: Format | None = None
    encoding: str = "utf-8"
    quoted: bool = True
    delimiter: str | None = None
    escape: str | None = None
    header: bool = True


class TableSettings(Settings):
    """Settings of whatever reads a table; `Dialect` explains them. Other columns' keys end in `_column`."""

    text_column: Column
    format: Format | None
    encoding: Encoding
    quoted: bool
    delimiter: Delimiter | None
    escape: Escape | None
    header: bool

    @model_validator(mode="after")
    def _columns_are_positions(self) -> Self:
        for key in type(self).model_fields:
            column = getattr(self, key)
            if not self.header and key.endswith("_column") and column is not None and not str(column).isdecimal():
                raise ValueError(f"{key}: got {column!r}, should be a position from 0, because header is false")
        if self.delimiter is not None and self.delimiter == self.escape:
            raise ValueError(f"escape: got {self.escape!r}, which is the delimiter")
        return self

    @property
    def dialect(self) -> Dialect:
        """What the settings say about the file."""
        return Dialect(self.format, self.encoding, self.quoted, self.delimiter, self.escape, self.header)
