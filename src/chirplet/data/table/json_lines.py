"""JSONL files: one JSON object per line."""

import json
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from chirplet.data.table.text_io import MIXED, Lines
from chirplet.system.error import DataError


def json_objects(stream: BufferedReader, encoding: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line that is not blank, stripped, and its object.

    Raises:
        DataError: there is no such line, or one is damaged or not an object; the message names the row.
    """
    if encoding == MIXED:
        raise DataError(f"{name}: encoding {MIXED} is for CSV and TSV; JSONL is UTF-8")
    lines = (stripped for line in Lines(stream, encoding) if (stripped := line.strip()))
    number = 0
    while (line := _next(lines, name, number + 1)) is not None:
        number += 1
        yield line, _object(line, f"{name} row {number}")
    if number == 0:
        raise DataError(f"{name}: is empty, should have one JSON object per line")


def _next(lines: Iterator[str], name: str, number: int) -> str | None:
    try:
        return next(lines, None)
    except DataError as error:
        raise error.behind(f"{name} row {number}, ") from None


def _object(line: str, row: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{row}: not valid JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError):
        raise DataError(f"{row}: JSON is nested too deeply, or a number is too long") from None
    if not isinstance(value, dict):
        raise DataError(f"{row}: got {type(value).__name__}, should be a JSON object")
    return value
