"""What is written can be read again, and is there whole or not at all."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chirplet.data.table.chunk import JsonChunk, TextChunk
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.reader import read_table
from chirplet.data.table.stream import ChunkedFile
from chirplet.data.table.writer import DelimitedWriter, JsonLinesWriter, open_writer
from chirplet.system.error import DataError

PARQUET = Dialect("parquet")
ADDED = {"label": str, "p": float}


def chunk_of(cells: list[str]) -> TextChunk:
    return TextChunk(cells, ["text"], [[cell] for cell in cells])


def source_of(*chunks: TextChunk, dialect: Dialect = PARQUET) -> ChunkedFile:
    return ChunkedFile("in", dialect, ["text"], ["text"], None, iter(chunks))


def write(path: Path | str, kind: Any, *chunks: TextChunk) -> None:
    with open_writer(str(path), kind, source_of(*chunks), ADDED) as writer:
        for chunk in chunks:
            writer.write(chunk, {"label": ["x"] * len(chunk.texts), "p": [0.5] * len(chunk.texts)})


@settings(max_examples=50, deadline=None)
@given(cells=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))), tabs=st.booleans())
def test_what_a_delimited_writer_writes_the_reader_reads(cells, tabs, tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / ("out.tsv" if tabs else "out.csv")
    write(path, "tsv" if tabs else "csv", chunk_of(cells))
    with read_table(path, ["text", "label", "p"]) as table:
        assert [row.cells for row in table] == [{"text": cell, "label": "x", "p": "0.5"} for cell in cells]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_formulas_in_labels_are_text_and_the_file_s_own_columns_are_kept_to_the_byte(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    chunk = chunk_of(["=1+1", "@user", "-x"])
    with open_writer(str(path), kind, source_of(chunk), ADDED) as writer:
        writer.write(chunk, {"label": ["=HYPERLINK(1)", "-1", "good"], "p": [0.5, 1e-08, 1.0]})
    with read_table(path, ["text", "label", "p"]) as table:
        rows = [tuple(row.cells.values()) for row in table]
    assert rows == [("=1+1", "'=HYPERLINK(1)", "0.5"), ("@user", "-1", "1e-08"), ("-x", "good", "1.0")]


def test_cells_are_quoted_only_where_they_must_be():
    stream = io.BytesIO()
    writer = DelimitedWriter(stream, ["a"], Dialect(delimiter=","))
    for cell in ("plain 'text'", "a,b", 'say "hi"', "one\rtwo", "", " x "):
        writer.write(chunk_of([cell]), {"label": ["y"]})
    assert stream.getvalue().decode().split("\n") == [
        "a",
        "plain 'text',y",
        '"a,b",y',
        '"say ""hi""",y',
        '"one\rtwo",y',
        ",y",
        " x ,y",
        "",
    ]


def test_without_quotes_a_delimiter_in_a_cell_is_refused():
    stream = io.BytesIO()
    writer = DelimitedWriter(stream, ["a"], Dialect(delimiter="\t", quoted=False))
    writer.write(chunk_of(['5" of rain']), {"label": ["y"]})
    assert stream.getvalue() == b'a\n5" of rain\ty\n'
    with pytest.raises(DataError, match=r"'a\\tb' cannot be written without quotes"):
        writer.write(chunk_of(["a\tb"]), {"label": ["y"]})


def test_added_keys_go_before_the_closing_brace():
    stream = io.BytesIO()
    raw = '{"text": "a", "n": 1.50}'
    JsonLinesWriter(stream).write(JsonChunk(["a"], "in", None, [raw], [json.loads(raw)]), {"label": ["é"], "p": [0.5]})
    assert stream.getvalue().decode() == '{"text": "a", "n": 1.50, "label": "é", "p": 0.5}\n'


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_an_error_leaves_what_was_there(tmp_path, kind):
    path = tmp_path / "out"
    with pytest.raises(KeyError), open_writer(str(path), kind, source_of(), ADDED) as writer:
        writer.write(chunk_of(["a"]), {"label": ["x"], "p": [0.5]})
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    write(path, kind, chunk_of(["a"]), chunk_of(["b"]))
    whole = path.read_bytes()
    with pytest.raises(KeyError), open_writer(str(path), kind, source_of(), ADDED):
        raise KeyError
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_place_is_told_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"output: could not write .*no file was left"):
        write(tmp_path / "missing" / "out.csv", "csv", chunk_of(["a"]))


def test_parquet_on_standard_output_comes_whole_or_not_at_all(capsysbinary):
    write("-", "parquet", chunk_of(["a"]), chunk_of(["b"]))
    assert pq.read_table(io.BytesIO(capsysbinary.readouterr().out)).to_pylist() == [
        {"text": "a", "label": "x", "p": 0.5},
        {"text": "b", "label": "x", "p": 0.5},
    ]
    with pytest.raises(KeyError), open_writer("-", "parquet", source_of(), ADDED) as writer:
        writer.write(chunk_of(["a"]), {"label": ["x"], "p": [0.5]})
        raise KeyError
    assert capsysbinary.readouterr().out == b""


def test_a_reader_that_went_away_is_told_once():
    code = """
from chirplet.data.table.chunk import TextChunk
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.stream import ChunkedFile
from chirplet.data.table.writer import open_writer
from chirplet.system.error import DataError
chunk = TextChunk([], ["text"], [["a" * 100]] * 1000)
source = ChunkedFile("in", Dialect("csv", delimiter=","), ["text"], ["text"], None, iter([]))
try:
    with open_writer("-", "csv", source, {"label": str}) as writer:
        for _ in range(1000):
            writer.write(chunk, {"label": ["x"] * 1000})
except DataError as error:
    raise SystemExit(str(error))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
    assert told == "output: standard output was closed before all rows were written\n"
    assert process.returncode == 1
