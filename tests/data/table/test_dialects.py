"""Files as spreadsheets, databases and downloads write them."""

import bz2
import gzip
import io
import logging
import lzma
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chirplet.data.table.columns import column_names
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.files import format_of, table_files
from chirplet.data.table.reader import read_table
from chirplet.data.table.writer import DelimitedWriter
from chirplet.system.error import DataError
from tables import read_rows, table_settings
from workbooks import write_workbook


def rows_of(path: Path, content: str | bytes, columns: str = "text label", **dialect: Any) -> list[tuple[Any, ...]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [tuple(cells.values()) for cells in read_rows(path, columns.split(), **dialect)]


def test_nameless_and_repeated_columns_that_are_not_wanted(tmp_path):
    content = "v1,v2,,,,x,x\nham,caf\xe9,,a,,1,2\nspam,no,,,,,\n".encode("latin-1")
    assert rows_of(tmp_path / "a.csv", content, "v2 v1", encoding="latin-1") == [("caf\xe9", "ham"), ("no", "spam")]
    assert rows_of(tmp_path / "a.csv", content, "3 x_6", encoding="latin-1") == [("a", "2"), ("", "")]
    with pytest.raises(DataError, match="has the column 'x' more than once"):
        rows_of(tmp_path / "a.csv", content, "x", encoding="latin-1")


def test_columns_get_different_names():
    assert column_names(["a", "", " ", "a", "2", "a_3"]) == ["a", "1", "2_", "a_3_", "2", "a_3"]


def test_empty_cells_at_the_end_of_a_row_may_be_missing_or_too_many(tmp_path):
    assert rows_of(tmp_path / "a.csv", "text,label,,\nhi,x\nho,y,\nha,z,,,,\n") == [
        ("hi", "x"),
        ("ho", "y"),
        ("ha", "z"),
    ]
    for row in ("hi", "hi,x,,,y"):
        with pytest.raises(DataError, match=r"row 1 .* fields, should be 4"):
            rows_of(tmp_path / "a.csv", f"text,label,,\n{row}\n")


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_with_which_the_columns_exist(delimiter, suffix, tmp_path, caplog):
    content = delimiter.join(["id", "text", "label"]) + "\n" + delimiter.join(["1", '"a, b; c\t|"', "x"]) + "\n"
    with caplog.at_level(logging.INFO):
        assert rows_of(tmp_path / f"a.{suffix}", content) == [("a, b; c\t|", "x")]
        assert rows_of(tmp_path / f"a.{suffix}", content, delimiter=delimiter) == [("a, b; c\t|", "x")]
    usual = {"csv": ",", "tsv": "\t"}[suffix]
    assert caplog.messages == ([] if delimiter == usual else [f"{tmp_path}/a.{suffix}: the delimiter is {delimiter!r}"])


def test_without_the_columns_those_of_the_likely_delimiter_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no column 'text'; did you mean 'txt'\?; the columns are 'txt', 'label'$"):
        rows_of(tmp_path / "a.csv", "txt;label\na;x\n")


def test_a_file_without_a_header(tmp_path):
    content = '"0","1","Mon","NO_QUERY","bob","caf\xe9, ok"\n"4","2","Tue","NO_QUERY","al","b"\n'.encode("latin-1")
    dialect = {"encoding": "latin-1", "header": False}
    assert rows_of(tmp_path / "a.csv", content, "5 0", **dialect) == [("caf\xe9, ok", "0"), ("b", "4")]
    assert rows_of(tmp_path / "a.csv", "0|a, b\n4|c", "1 0", header=False, delimiter="|") == [("a, b", "0"), ("c", "4")]
    assert rows_of(tmp_path / "a.csv", "0;a\n4;c", "1 0", header=False) == [("a", "0"), ("c", "4")]
    with pytest.raises(DataError, match=r"no column '6'; the columns are '0', '1'.*'5'$"):
        rows_of(tmp_path / "a.csv", content, "6", **dialect)
    hint = "a file without a header. set data.header=false and name columns by position, for example data.text_column=5"
    with pytest.raises(DataError, match=f"no column 'text'; .*{hint}$"):
        rows_of(tmp_path / "a.csv", content, encoding="latin-1")


ESCAPED = 'text,label\n"He said \\"hi\\", twice \\o/ \\\\",x\nplain \\o/,y\n'


def test_quotes_behind_a_backslash(tmp_path):
    expected = [('He said "hi", twice \\o/ \\', "x"), ("plain \\o/", "y")]
    assert rows_of(tmp_path / "a.csv", ESCAPED, escape="\\") == expected
    for content in (ESCAPED, 'text,label\n"a \\", b",x\n', 'text,label\n"a \\",x\n"b \\"",y\n'):
        with pytest.raises(DataError, match=r"a quote behind a backslash\? set data.escape=backslash"):
            rows_of(tmp_path / "a.csv", content)


class OneCell:
    """A chunk of one cell."""

    def __init__(self, cell: str) -> None:
        self.cell = cell

    def cells(self) -> Any:
        yield (self.cell,)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from('\\\\""\n\r;,ab '), max_size=8))
def test_what_is_written_with_an_escape_is_read_back(tmp_path_factory, cell):
    stream, dialect = io.BytesIO(), Dialect("csv", delimiter=";", escape="\\")
    DelimitedWriter(stream, ["text", "label"], dialect).write(OneCell(cell), {"label": ["x"]})
    path = tmp_path_factory.mktemp("escape") / "a.csv"
    assert rows_of(path, stream.getvalue(), delimiter=";", escape="\\") == [(cell, "x")]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def zipped(content: bytes, *names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("in/a.csv", "__MACOSX/in/._a.csv"):
            archive.writestr(name, content)
    return sink.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
    ".zip": zipped,
}


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_are_read_and_damage_is_one_line(suffix, tmp_path):
    content, pack = b"text,label\n" + b"hi,x\n" * 30_000, PACKED[suffix]
    assert len(rows_of(tmp_path / f"a.csv{suffix}", pack(content))) == 30_000
    assert rows_of(tmp_path / f"a.jsonl{suffix}", pack(b'{"text": "a", "label": 1}\n')) == [("a", 1)]
    for damaged in (pack(content)[:-30], b"something else"):
        with pytest.raises(DataError, match=rf"a\.csv\{suffix} (header|row \d+), damaged \{suffix} file \(.+\)$"):
            rows_of(tmp_path / f"a.csv{suffix}", damaged)


def test_files_that_were_compressed_in_parts_are_read_whole(tmp_path):
    for suffix in (".gz", ".bz2", ".xz", ".zst"):
        pack = PACKED[suffix]
        assert rows_of(tmp_path / f"a.csv{suffix}", pack(b"text,label\na,x\n") + pack(b"b,y\n")) == [
            ("a", "x"),
            ("b", "y"),
        ]


def test_an_archive_has_one_file_whose_name_may_give_the_format(tmp_path):
    assert rows_of(tmp_path / "a.zip", zipped(b"text\tlabel\na\tx\n", "b.tsv")) == [("a", "x")]
    with pytest.raises(DataError, match=r"a\.zip: the archive has 2 files \(b.csv, c.csv\), should have one"):
        rows_of(tmp_path / "a.zip", zipped(b"", "b.csv", "c.csv"))
    with pytest.raises(DataError, match=r"a\.zip: damaged \.zip file"):
        rows_of(tmp_path / "a.zip", b"PK")


def test_compressed_files_are_streamed(tmp_path):
    import tracemalloc

    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"x" * 100 + b",y\n" + (b"y" * 100 + b",y\n") * 40_000, 1))
    tracemalloc.start()
    with read_table(path, ["text"]) as table:
        assert sum(1 for _ in table) == 40_001
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_formats_of_names(tmp_path):
    for name, kind in (("a.csv.gz", "csv"), ("A.JSONL.ZST", "jsonl"), ("a.b.tsv", "tsv"), ("a.xlsx", "excel")):
        assert format_of(tmp_path / name) == kind
    with pytest.raises(DataError, match=r"got the suffix '', should be .*\.gz.*set data.format"):
        format_of("a.gz")


def test_files_of_patterns(tmp_path, monkeypatch):
    for name in ("b.csv", "a.csv", "c.txt", "in/d.csv", "[1].csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert table_files(["~/?.csv", f"{tmp_path}/[1].csv"], "x") == [f"{tmp_path}/{n}.csv" for n in ("a", "b", "[1]")]
    assert len(table_files(f"{tmp_path}/**/*.csv", "x")) == 4
    with pytest.raises(ValueError, match=r"got '.*\*\.tsv', which matches no file; should be a table"):
        table_files(f"{tmp_path}/*.tsv", "a table")


def test_a_workbook_is_read_as_text(tmp_path, caplog):
    rows = [
        ["text", "label", ""],
        ["good day", 1, None],
        [],
        [5, 2.5, None],
        [date(2020, 3, 16), True, "x"],
        [None, "y"],
    ]
    path = write_workbook(tmp_path / "a.xlsx", {"_old": [["old"]], "empty": [], "Tweets": rows})
    expected = [("good day", "1"), ("5", "2.5"), ("2020-03-16", "True"), ("", "y")]
    with caplog.at_level(logging.INFO):
        assert [tuple(cells.values()) for cells in read_rows(path, ["text", "label"])] == expected
    assert caplog.messages == [f"{path}: reads the sheet 'Tweets' of 2"]
    assert [cells["0"] for cells in read_rows(path, ["0"], header=False)][:2] == ["text", "good day"]
    with pytest.raises(DataError, match=r"a\.xlsx: no column 'txt'; did you mean 'text'"):
        list(read_rows(path, ["txt"]))
    with pytest.raises(DataError, match=r"b\.xlsx: not an Excel workbook"):
        rows_of(tmp_path / "b.xlsx", b"PK")


def test_excel_without_its_library_is_one_line(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(DataError, match=r'a\.xlsx: .*pip install "chirplet\[excel\]"'):
        rows_of(tmp_path / "a.xlsx", b"")


def test_typed_cells_are_texts_where_texts_are_wanted(tmp_path):
    values = {"n": [1, None], "f": [2.0, float("nan")], "day": [date(2020, 3, 16), None], "yes": [True, None]}
    values["text"] = [1_600_000_000_123_456_789, None]
    table = pa.table(values).set_column(4, "text", pa.array(values["text"], pa.timestamp("ns")))
    pq.write_table(table, tmp_path / "a.parquet")
    with read_table(tmp_path / "a.parquet", table.column_names) as read:
        texts = [[read.text(row, column) for column in table.column_names] for row in read]
    assert texts == [["1", "2", "2020-03-16", "True", "2020-09-13 12:26:40.123456"], [""] * 5]


def test_other_columns_of_typed_files_do_not_matter(tmp_path):
    lines = '{"text": "a", "label": 1}\n{"label": 2, "geo": {}, "n": "\\ud83d"}\n{"text": 5, "label": 3, "geo": [1]}\n'
    assert rows_of(tmp_path / "a.jsonl", lines) == [("a", 1), (None, 2), (5, 3)]
    columns = [pa.array([b"\xff"]), pa.array([b"\xff"]), pa.array(["a"]), pa.array(["x"])]
    pq.write_table(pa.Table.from_arrays(columns, ["x", "x", "text", "label"]), tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet", (tmp_path / "a.parquet").read_bytes()) == [("a", "x")]
    with pytest.raises(DataError, match="the column 'x' more than once"):
        read_table(tmp_path / "a.parquet", ["x"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delimiter": ",,"}, "got ',,', should be one character, or one of comma, semicolon, tab, pipe"),
        ({"delimiter": '"'}, "should be one character"),
        ({"escape": "x"}, "got 'x', should be one character, for example backslash"),
        ({"header": False}, "text_column: got 'text', should be a position from 0, because header is false"),
        ({"delimiter": "|", "escape": "|"}, r"escape: got '\|', which is the delimiter"),
    ],
)
def test_settings_that_cannot_be_meant(changes, message):
    with pytest.raises((ValidationError, Exception), match=message):
        table_settings(**changes)


def test_characters_may_be_given_by_name():
    told = table_settings(delimiter="tab", escape="backslash", text_column=5, header=False)
    assert told.dialect == Dialect(None, "utf-8", True, "\t", "\\", False)
    assert table_settings(delimiter=r"\t").delimiter == "\t"
