"""Label the texts of a CSV file: `POST /v1/table`, whose body is the file itself, and whose answer is the labeled file.

The query has the name of the model and the keys of `stage=predict` for reading a table.
"""

import asyncio
import io
from typing import Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from chirplet.data.table.columns import check_columns, check_unused
from chirplet.data.table.delimited import TextRow, TextTable, open_delimited
from chirplet.data.table.dialect import Column, Delimiter, Escape, TableSettings
from chirplet.data.table.row_writer import RowWriter
from chirplet.data.table.text_io import MIXED, Encoding
from chirplet.server.errors import RequestError
from chirplet.server.exchange import models_of, read_body
from chirplet.server.models import ServedModel
from chirplet.system.error import DataError, Key
from chirplet.system.escaping import csv_cell
from chirplet.task.base import DECIMALS

NAME = "the file"
"""What messages call the file, which has no name here."""
KEYS = {"data.": "", "stage.": ""}
"""The readers name keys of a run; here they are parameters of the query."""

router = APIRouter()


class Asked(TableSettings):
    """The query. Cells that are not UTF-8 are read as Windows-1252 unless `encoding` is given."""

    model: str | None = None
    text_column: Column | None = None  # type: ignore[assignment]
    prefix: str = ""
    format: Literal["csv", "tsv"] = "csv"
    encoding: Encoding = MIXED
    quoted: bool = True
    delimiter: Delimiter | None = None
    escape: Escape | None = None
    header: bool = True


@router.post("/v1/table")
async def table(request: Request) -> Response:
    """Label each row of a CSV file; the answer has the same rows with the columns that the model's task adds."""
    asked = _asked(request)
    model = models_of(request).named(asked.model)
    record = model.artifact.record
    added = list(record.task.columns(record.labels, asked.prefix))
    content = io.BufferedReader(io.BytesIO(await read_body(request)))  # type: ignore[arg-type]
    try:
        source, rows, position = await asyncio.to_thread(_read, content, asked, model, added)
        labeled = io.BytesIO()
        writer = RowWriter(labeled, source.dialect)
        if source.header is not None:
            writer.write([*source.header, *added])
        size = model.limits.max_texts
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            answers = await model.classify([row.cells[position] for row in chunk])
            scores = np.round(answers.probabilities, DECIMALS).tolist()
            for row, label, score in zip(chunk, answers.label, scores, strict=True):
                writer.write([*row.cells, str(csv_cell(label)), *map(str, score)])
    except DataError as error:
        raise RequestError(422, str(error.renamed(KEYS))) from None
    headers = {"Content-Disposition": 'attachment; filename="labeled.csv"', "X-Rows": str(len(rows))}
    return Response(labeled.getvalue(), headers=headers, media_type="text/csv")


def _asked(request: Request) -> Asked:
    try:
        return Asked.model_validate(dict(request.query_params), strict=False)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in fault["loc"])
        raise RequestError(422, f"{where}{fault['msg'].removeprefix('Value error, ')}") from None


def _read(
    content: io.BufferedReader, asked: Asked, model: ServedModel, added: list[str]
) -> tuple[TextTable, list[TextRow], int]:
    """The table, all its rows, and the position of the column of texts.

    Raises:
        DataError: it is damaged, has no column of texts, or has a column that is to be added.
    """
    trained = model.artifact.record.config.get("data", {}).get("text_column")
    texts = [str(trained or "text"), "text"] if asked.text_column is None else [str(asked.text_column)]
    source = open_delimited(content, NAME, asked.dialect, texts[:1])
    column = next((column for column in texts if column in source.columns), texts[0])
    check_columns(NAME, [column], source.columns, source.header or (), Key("data.text_column"))
    check_unused(NAME, source.columns, added, Key("stage.prefix"))
    return source, list(source.rows), source.columns.index(column)
