"""JSON files: one object per line, or one array of objects."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from chirplet.data.table.text_io import ENCODING, MIXED, Lines
from chirplet.system.error import DataError

_START_BYTES = 64
"""Within these an array starts."""


def json_objects(stream: BufferedReader, encoding: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line that is not blank, stripped, and its object; of an array, which is read at once, each object.

    Raises:
        DataError: there is no object, or one is damaged or not an object; the message names the row.
    """
    if encoding == MIXED:
        raise DataError(f"{name}: encoding {MIXED} is for CSV and TSV; JSONL is UTF-8")
    if stream.peek(_START_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        yield from _array(stream, encoding, name)
        return
    lines = (stripped for line in Lines(stream, encoding) if (stripped := line.strip()))
    number = 0
    while (line := _next(lines, name, number + 1)) is not None:
        number += 1
        row = f"{name} row {number}"
        yield line, _object(_parsed(line, row), row)
    if number == 0:
        raise DataError(f"{name}: is empty, should have one JSON object per line")


def _array(stream: BufferedReader, encoding: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = stream.read().removeprefix(codecs.BOM_UTF8).decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, byte {error.start}: not valid {encoding}; set ", ENCODING) from None
    except DataError as error:
        raise error.behind(f"{name}: ") from None
    values = _parsed(text, name)
    if not values:
        raise DataError(f"{name}: is empty, should have JSON objects")
    for number, value in enumerate(values, start=1):
        found = _object(value, f"{name} row {number}")
        yield json.dumps(found, ensure_ascii=False), found


def _next(lines: Iterator[str], name: str, number: int) -> str | None:
    try:
        return next(lines, None)
    except DataError as error:
        raise error.behind(f"{name} row {number}, ") from None


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise DataError(f"{place}: not valid JSON ({error.msg}, {line}column {error.colno})") from None
    except (ValueError, RecursionError):
        raise DataError(f"{place}: JSON is nested too deeply, or a number is too long") from None


def _object(value: Any, row: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{row}: got {type(value).__name__}, should be a JSON object")
    return value
