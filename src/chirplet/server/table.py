"""Label the texts of a CSV file: `POST /v1/table`, whose body is the file itself, and whose answer is the labeled file.

The query has the name of the model and the keys of `stage=predict` for reading a table.
"""

import asyncio
import io
from typing import Literal

import numpy as np
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from chirplet.data.preparation.repair import repair
from chirplet.data.table.chunk import TextChunk
from chirplet.data.table.columns import check_columns, check_unused
from chirplet.data.table.delimited import TextRow, TextTable, open_delimited
from chirplet.data.table.dialect import Column, Delimiter, Escape, TableSettings
from chirplet.data.table.text_io import MIXED, Encoding
from chirplet.data.table.writer import DelimitedWriter
from chirplet.server.errors import RequestError
from chirplet.server.exchange import models_of, read_body
from chirplet.server.models import ServedModel
from chirplet.server.routes import Documentation, Router
from chirplet.system.error import DataError, Key
from chirplet.task.base import DECIMALS

CSV = "text/csv"
NAME = "the file"
"""What messages call the file, which has no name here."""
KEYS = {"data.": "", "stage.": ""}
"""The readers name keys of a run; here they are parameters of the query."""

router = Router()


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


@router.post("/v1/table", Documentation(CSV, CSV, Asked, (401, 404, 413, 422, 500)))
async def table(request: Request) -> Response:
    """Label each row of a CSV file; the answer has the same rows with the columns that the model's task adds.

    Texts of files are repaired as `stage=predict` does. A file waits its turn where the model's queue is full.
    """
    asked = _asked(request)
    model = models_of(request).named(asked.model)
    record, repairs = model.artifact.record, model.artifact.repairs
    added = list(record.task.columns(record.labels, asked.prefix))
    body = await read_body(request)
    labeled = io.BytesIO()
    try:
        source, rows, position = await asyncio.to_thread(_read, body, asked, model, added)
        _check_lengths(rows, position, model.limits.max_characters)
        writer = DelimitedWriter(labeled, source.header and [*source.header, *added], source.dialect)
        for start in range(0, len(rows), model.limits.max_texts):
            cells = [row.cells for row in rows[start : start + model.limits.max_texts]]
            texts = [row[position] for row in cells]
            answers = await model.classify([repair(text)[0] for text in texts] if repairs else texts, long=True)
            columns = [answers.label, *np.round(answers.probabilities, DECIMALS).T.tolist()]
            writer.write(TextChunk(texts, source.columns, cells), dict(zip(added, columns, strict=True)))
    except DataError as error:
        raise RequestError(422, str(error.renamed(KEYS))) from None
    headers = {"Content-Disposition": 'attachment; filename="labeled.csv"', "X-Rows": str(len(rows))}
    return Response(labeled.getvalue(), headers=headers, media_type=CSV)


def _asked(request: Request) -> Asked:
    try:
        return Asked.model_validate(dict(request.query_params), strict=False)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in fault["loc"])
        raise RequestError(422, f"{where}{fault['msg'].removeprefix('Value error, ')}") from None


def _check_lengths(rows: list[TextRow], position: int, limit: int) -> None:
    """Check the texts before the first one is labeled, and name the row.

    Raises:
        RequestError: a text is too long (413).
    """
    long = next((row for row in rows if len(row.cells[position]) > limit), None)
    if long is not None:
        count = len(long.cells[position])
        raise RequestError(
            413, f"row {long.number}: got {count:,} characters, should be at most {limit:,} (stage.max_characters)"
        )


def _read(body: bytes, asked: Asked, model: ServedModel, added: list[str]) -> tuple[TextTable, list[TextRow], int]:
    """The table, all its rows, and the position of the column of texts.

    Raises:
        DataError: it is damaged, has no column of texts, or has a column that is to be added.
    """
    trained = model.artifact.record.config.get("data", {}).get("text_column")
    texts = [str(trained or "text"), "text"] if asked.text_column is None else [str(asked.text_column)]
    content: io.BufferedReader = io.BufferedReader(io.BytesIO(body))
    source = open_delimited(content, NAME, asked.dialect, texts[:1])
    column = next((column for column in texts if column in source.columns), texts[0])
    check_columns(NAME, [column], source.columns, source.header or (), Key("data.text_column"))
    check_unused(NAME, source.columns, added, Key("stage.prefix"))
    return source, list(source.rows), source.columns.index(column)
