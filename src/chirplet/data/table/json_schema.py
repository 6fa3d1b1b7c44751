"""The columns of JSONL files whose rows have different keys and types."""

import json
from collections.abc import Iterable
from typing import Any

from chirplet.system.optional_dependency import INSTALL_PYARROW, PYARROW, needs

with needs(PYARROW, INSTALL_PYARROW):
    import pyarrow as pa


def json_schema(chunks: Iterable[list[dict[str, Any]]]) -> pa.Schema:
    """A column for each key of any row, in the order of their first occurrence.

    Its type holds all its values: numbers are floats if one of them is; values of several types, and objects without
    keys, which Parquet cannot store, are text (`json_column`).
    """
    types: dict[str, pa.DataType] = {}
    for rows in chunks:
        for key in dict.fromkeys(key for row in rows for key in row):
            types[key] = _common(types.get(key, pa.null()), _type([row.get(key) for row in rows]))
    return pa.schema([(key, pa.string() if pa.types.is_null(kind) else kind) for key, kind in types.items()])


def json_column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values as an Arrow array of that type; in a column of text, what is no text is written as JSON."""
    if kind == pa.string():
        values = [value if value is None or isinstance(value, str) else _json(value) for value in values]
    return pa.array(values, kind)


def _type(values: list[Any]) -> pa.DataType:
    try:
        kind = pa.array(values).type
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.string()
    return pa.string() if _has_empty_struct(kind) else kind


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    schemas = [pa.schema([("value", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_struct(kind.field(index).type) for index in range(kind.num_fields))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
