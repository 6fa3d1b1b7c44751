import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chirplet.data.base import RawCorpus, Source
from chirplet.system.error import ConfigError, DataError

Make = Callable[..., Source]


def read(make_source: Make, **settings: Any) -> RawCorpus:
    source = make_source("csv", **settings)
    return source.read(source.files(Path()))


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_columns_roles_and_row_ids(make_source: Make, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    files = {
        "train": [write(tmp_path / "a.csv", "t,l\none,2\n"), write(tmp_path / "b.tsv", "l\tt\n10\ttwo\n")],
        "test": write(tmp_path / "x" / "a.csv", "t,l\nthree,2\n"),
    }
    raw = read(make_source, **files, text_column="t", label_column="l")
    assert raw.labels == ("2", "10")
    assert [(tweet.text, tweet.label) for tweet in raw.splits["train"]] == [("one", "2"), ("two", "10")]
    assert set(raw.splits) == {"train", "test"}
    assert raw.splits["test"][0].row_id == "3/a.csv:1"


def test_typed_files(make_source: Make, tmp_path: Path) -> None:
    columns = {"text": ["a", None], "label": [1.0, 0.0], "day": [date(2020, 3, 16), None]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    raw = read(make_source, train=str(tmp_path / "a.parquet"), date_column="day", labels=[1, 0])
    assert raw.labels == ("1", "0")
    tweets = [(tweet.text, tweet.label, tweet.date) for tweet in raw.splits["train"]]
    assert tweets == [("a", "1", "2020-03-16"), ("", "0", None)]


@pytest.mark.parametrize(
    ("form", "cell", "iso"),
    [(None, "2020-03-16 10:00", "2020-03-16T10:00:00"), ("%d/%m/%y", "16/03/20", "2020-03-16T00:00:00")],
)
def test_dates(make_source: Make, tmp_path: Path, form: str | None, cell: str, iso: str) -> None:
    path = write(tmp_path / "a.csv", f"text,label,d\na,x,{cell}\nb,y,\n")
    raw = read(make_source, train=path, date_column="d", date_format=form)
    assert [tweet.date for tweet in raw.splits["train"]] == [iso, None]
    with pytest.raises(DataError, match=r"a.csv row 1: the date is .*; set data.date_format"):
        read(make_source, train=path, date_column="d", date_format="%Y")


def test_a_cell_in_another_encoding_counts_as_repaired(make_source: Make, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\nit\x92s,x\n\xc3\xa9,y\n")
    raw = read(make_source, train=str(tmp_path / "a.csv"), encoding="mixed")
    assert [(tweet.text, tweet.redecoded) for tweet in raw.splits["train"]] == [("it’s", True), ("é", False)]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("text,label\na,good\nb,god\n", {"labels": ["good", "bad"]}, "row 2: 'label' is 'god', .*did you mean 'good'"),
        (
            "text,label\na,1.0\n",
            {"labels": [0, 1]},
            "row 1: 'label' is '1.0', .*looks like '1': .data.label_map=.1.0: 1.. maps it",
        ),
        ("text,label\na,\n", {}, "row 1: 'label' is empty, should be a label"),
        ("text,mood\na,x\n", {}, "no column 'label'; the columns are 'text', 'mood'"),
        ("text,label\n", {}, "has a header but no rows"),
        (
            "text,label\n" + "".join(f"a,{n}\n" for n in range(101)),
            {},
            "101 different values .* list them in data.labels",
        ),
    ],
)
def test_wrong_cells(make_source: Make, tmp_path: Path, content: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(make_source, train=write(tmp_path / "a.csv", content), **settings)


def test_settings_are_checked(make_source: Make, tmp_path: Path) -> None:
    path = write(tmp_path / "tweets.csv", "text,label\na,x\n")
    for settings, message in (
        ({"train": str(tmp_path / "tweet.csv")}, "data.train: got .* no file.*did you mean 'tweets.csv'"),
        ({"train": []}, "data.train: got .., should be one file or more"),
        ({"train": path, "test": path}, "twice, should be different files"),
        ({"train": path, "encoding": "utf-9"}, "data.encoding: got 'utf-9'"),
        ({"train": path, "labels": ["x", "x"]}, "data.labels: got .*two or more different labels"),
        ({"train": write(tmp_path / "a.doc", "")}, "suffix '.doc', should be one of .csv"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_source("csv", **settings)


def test_the_tilde_is_the_home_folder(make_source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.csv", "text,label\na,x\n")
    assert make_source("csv", train="~/a.csv").files(Path()) == [tmp_path / "a.csv"]


def test_patterns_and_packed_files(make_source: Make, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(f"text,label\n{name},x\n".encode()))
    write(tmp_path / "test.csv", "text,label\nc,x\n")
    raw = read(make_source, train=f"{tmp_path}/*.gz", test=[f"{tmp_path}/t*.csv"])
    assert [[tweet.text for tweet in tweets] for tweets in raw.splits.values()] == [["a", "b"], ["c"]]
    with pytest.raises(ConfigError, match=r"data.train: got '.*\*\.bz2', which matches no file"):
        make_source("csv", train=f"{tmp_path}/*.bz2")
    with pytest.raises(ConfigError, match=r"test\.csv' twice"):
        make_source("csv", train=f"{tmp_path}/*", test=f"{tmp_path}/test.csv")


def test_columns_by_position(make_source: Make, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"0","16/03/20","hi"\n"4","","ho"\n')
    keys = {"header": False, "label_column": 0, "text_column": 2, "date_column": 1, "date_format": "%d/%m/%y"}
    tweets = [(t.text, t.label, t.date) for t in read(make_source, train=path, **keys).splits["train"]]
    assert tweets == [("hi", "0", "2020-03-16T00:00:00"), ("ho", "4", None)]
    with pytest.raises(ConfigError, match="label_column: got 'label', should be a position from 0"):
        make_source("csv", train=path, header=False, text_column=2)


def test_rows_without_a_label_are_an_error_or_left_out(make_source: Make, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,\nc,y\n")
    with pytest.raises(DataError, match=r"row 2: 'label' is empty, .*data\.empty_labels=drop leaves out such rows"):
        read(make_source, train=str(tmp_path / "a.csv"))
    raw = read(make_source, train=str(tmp_path / "a.csv"), empty_labels="drop")
    assert [tweet.row_id for tweet in raw.splits["train"]] == ["a.csv:1", "a.csv:3"]


def test_truth_values_are_labels(make_source: Make, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    raw = read(make_source, train=str(tmp_path / "a.jsonl"), labels=[False, True])
    assert raw.labels == ("False", "True")
    assert [tweet.label for tweet in raw.splits["train"]] == ["True", "False"]


def test_labels_are_mapped_and_rows_left_out(make_source: Make, tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", "text,label\na,0\nb,1\n")
    test = write(tmp_path / "b.csv", "text,label\nc,0.0\nd,2\ne,1.0\n")
    with pytest.raises(DataError, match=r"b.csv row 1: labels look alike: '0.0' and '0', '1.0' and '1'"):
        read(make_source, train=train, test=test)
    with pytest.raises(DataError, match=r"b.csv row 2: test has the label '2'"):
        read(make_source, train=train, test=test, label_map={0.0: 0, 1.0: 1})
    raw = read(make_source, train=train, test=test, label_map={0.0: 0, 1.0: 1, 2: None})
    assert raw.labels == ("0", "1")
    assert [(t.row_id, t.label) for t in raw.splits["test"]] == [("b.csv:1", "0"), ("b.csv:3", "1")]
    named = read(make_source, train=train, label_map={0: "bad", 1: "good"}, labels=["bad", "good"])
    assert named.labels == ("bad", "good")
    with pytest.raises(DataError, match=r"data.label_map: got '3', which is the label of no row"):
        read(make_source, train=train, label_map={3: 0})


def test_labels_that_are_listed_may_look_alike(make_source: Make, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,A\nb,a\n")
    assert read(make_source, train=path, labels=["A", "a"]).labels == ("A", "a")
