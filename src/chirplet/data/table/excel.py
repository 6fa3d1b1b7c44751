"""Rows of Excel workbooks, whose cells are read as text."""

import io
import logging
from collections.abc import Iterator
from typing import Any

from chirplet.data.table.cell import cell_text
from chirplet.data.table.delimited import TextTable, text_table
from chirplet.data.table.dialect import Dialect
from chirplet.system.error import DataError, first_line

logger = logging.getLogger(__name__)


def open_excel(stream: io.BufferedReader, name: str, dialect: Dialect) -> TextTable:
    """Read the first visible sheet that has rows. The workbook is kept in memory.

    Raises:
        DataError: python-calamine is missing, or it is not a workbook.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum
    except ImportError:
        raise DataError(
            f'{name}: Excel files need python-calamine: pip install "chirplet[excel]"; or save the file as CSV'
        ) from None
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(stream.read()))
        shown = [
            sheet.name
            for sheet in workbook.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
        ]
        sheets = ((title, workbook.get_sheet_by_name(title).to_python()) for title in shown)
        title, rows = next(((title, rows) for title, rows in sheets if rows), ("", []))
    except CalamineError as error:
        raise DataError(f"{name}: not an Excel workbook ({first_line(error)})") from None
    except DataError as error:
        raise error.behind(f"{name}: ") from None
    if len(shown) > 1 and rows:
        logger.info("%s: reads the sheet %r of %s", name, title, len(shown))
    return text_table(name, _texts(rows, name, dialect.header), dialect)


def _texts(rows: list[list[Any]], name: str, header: bool) -> Iterator[list[str]]:
    """The rows that are not blank."""
    number = 0 if header else 1
    for row in rows:
        cells = [cell_text(cell, f"{name} {f'row {number}' if number else 'header'}: a cell") for cell in row]
        if any(cells):
            yield cells
            number += 1
