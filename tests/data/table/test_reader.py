import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chirplet.data.table.dialect import Dialect
from chirplet.data.table.reader import read_table
from chirplet.system.error import DataError
from tables import read_rows


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path: Path, **options: Any) -> list[dict[str, Any]]:
    return list(read_rows(path, **options))


def test_cells_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'id,text\r\n1,"a, ""b""\r\r\nc\nd"\r\n\r\n2,é\r\n')
    with read_table(path, ["id", "text"]) as table:
        assert [(row.number, row.cells) for row in table] == [
            (1, {"id": "1", "text": 'a, "b"\r\r\nc\nd'}),
            (2, {"id": "2", "text": "é"}),
        ]


@pytest.mark.parametrize("asked", ["utf-8", "mixed"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-8"])
def test_byte_order_marks_are_understood(tmp_path: Path, encoding: str, asked: str) -> None:
    path = write(tmp_path, "a.tsv", "text\tlabel\nça va 😀\tgood\n".encode(encoding))
    assert rows_of(path, encoding=asked) == [{"text": "ça va 😀", "label": "good"}]


def test_mixed_encoding_is_decided_cell_by_cell(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"a,b\n\xc3\xa9,it\x92s \xe9\n\xc3\xa9,\x81\n")
    with read_table(path, ["a", "b"], Dialect(encoding="mixed")) as table:
        rows = list(table)
    assert [row.cells for row in rows] == [{"a": "é", "b": "it’s é"}, {"a": "é", "b": "\x81"}]
    assert [row.redecoded for row in rows] == [{"b"}, {"b"}]


def test_json_keeps_values_and_fills_missing_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"t": "x\\ny", "n": 1}\n\n{"t": null}\n')
    assert rows_of(path) == [{"t": "x\ny", "n": 1}, {"t": None, "n": None}]


def test_json_may_be_one_array(tmp_path: Path) -> None:
    values = [{"t": f"é {row}", "n": row} for row in range(60_000)]
    assert rows_of(write(tmp_path, "a.json", "\ufeff" + json.dumps(values))) == values
    assert rows_of(write(tmp_path, "b.json", json.dumps(values[:3], indent=2))) == values[:3]


def test_parquet_keeps_values(tmp_path: Path) -> None:
    cells = [{"t": f"tweet {row}", "n": row} for row in range(3000)]
    pq.write_table(pa.Table.from_pylist(cells), tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == cells


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a.csv: is empty"),
        ("a.jsonl", "\n", r"a.jsonl: is empty"),
        ("a.doc", "a,b\n", r"suffix '.doc', should be one of .csv, .tsv, .parquet"),
        ("a.csv", "a,b,a\n", r"the header has the column 'a' more than once"),
        ("a.csv", "a,b\n1,2\n3,4,5\n", r"a.csv row 2 \(line 3\): got 3 fields, should be 2 \(a, b\)"),
        ("a.csv", "a,b\n1,2\n3\n", r"row 2 \(line 3\): got 1 fields"),
        ("a.csv", 'a,b\n1,2\n3,"x\n4,5\n', r"row 2 \(up to line 4\): .*an unclosed quote.*data.quoted=false"),
        ("a.csv", b"a,b\n1,2\n3,\x00\n", r"a.csv row 2, line 3: a NUL byte; .*UTF-16"),
        ("a.csv", "a\nx\n".encode("utf-16-le"), r"a.csv header, line 1: a NUL byte; .*utf-16-le"),
        ("a.csv", b"a,b\n1,2\n3,\xe9\n", r"row 2, line 3, byte 10: 0xe9 is not valid utf-8; set data.encoding"),
        ("a.csv", b"\xef\xbb\xbfa,b\n1,\xe9\n", r"row 1, line 2, byte 9: 0xe9"),
        ("a.csv", "a,b\n1," + "x" * 10_000_000 + "\n", r"row 1, line 2: more than 1,000,000 characters"),
        ("a.csv", 'a,b\n1,"' + "x\n" * 600_000, r"row 1 \(.*a field of more than 1,000,000 characters.*unclosed quote"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', r"a.jsonl row 2: not valid JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', r"row 2: got list, should be a JSON object"),
        ("a.json", '[{"a": 1}, 2]', r"row 2: got int, should be a JSON object"),
        ("a.json", '[{"a": 1},\n{"a": 2]', r"a.json: not valid JSON \(.*line 2, column 8\)"),
        ("a.json", "[]", r"a.json: is empty"),
        ("a.jsonl", json.dumps({"a": "x" * 1_000_000}), r"row 1, line 1: more than"),
        ("a.parquet", "no parquet", r"a.parquet: not a Parquet file"),
    ],
)
def test_damage_is_one_line_with_its_place(tmp_path: Path, name: str, content: bytes | str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        rows_of(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_missing_files_folders_and_columns(tmp_path: Path) -> None:
    write(tmp_path, "tweets.csv", "Text,Label\n")
    with pytest.raises(DataError, match=r"tweet.csv: no such file; did you mean 'tweets.csv'"):
        rows_of(tmp_path / "tweet.csv")
    with pytest.raises(DataError, match="is a folder"):
        rows_of(tmp_path, format="csv")
    with pytest.raises(DataError, match="got 'utf-9', should be an encoding"):
        rows_of(tmp_path / "tweets.csv", encoding="utf-9")
    with pytest.raises(DataError, match=r"no column 'Txt'; did you mean 'Text'\?; the columns are 'Text', 'Label'"):
        read_table(tmp_path / "tweets.csv", ["Label", "Txt"])


def test_unquoted_files_keep_their_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"so" she said\tgood\n')
    assert rows_of(path, quoted=False) == [{"text": '"so" she said', "label": "good"}]
    with pytest.raises(DataError, match="row 1"):
        rows_of(path)


def test_memory_stays_flat(tmp_path: Path) -> None:
    import tracemalloc

    path = write(tmp_path, "a.csv", "id,text\n" + "".join(f"{row},{'x' * 100}\n" for row in range(50_000)))
    rows_of(write(tmp_path, "b.csv", "a\n1\n"))
    tracemalloc.start()
    assert sum(1 for _ in read_rows(path)) == 50_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < path.stat().st_size


def test_standard_input() -> None:
    code = (
        "from chirplet.data.table.reader import read_table; print([row.cells for row in read_table('-', ['a', 'b'])])"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"a,b\n1,\xc3\xa9\n", capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[{'a': '1', 'b': 'é'}]"


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1),
    encoding=st.sampled_from(["utf-8", "mixed", "utf-16"]),
)
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], encoding: str
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8" if encoding == "mixed" else encoding, newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["a"], *([cell] for cell in cells)])
    assert [row["a"] for row in read_rows(path, encoding=encoding)] == cells
