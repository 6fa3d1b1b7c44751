"""A CSV file goes to the server and comes back labeled."""

import csv
import io

import httpx
import numpy as np
import pytest

from checkpoints import TEXTS, tiny_bert
from chirplet.artifact.artifact import write_record
from chirplet.metric.names import label_names
from chirplet.task.base import DECIMALS
from records import LABELS, make_record
from serving import LIMITS, decided_artifact, open_model, serving

ADDED = ["label", *(f"probability_{name}" for name in label_names(LABELS))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("table")
    return decided_artifact(tiny_bert(place / "base"), place / "artifact")


@pytest.fixture(scope="module")
def formulas(folder, tmp_path_factory):
    """The same model with labels that a spreadsheet would evaluate."""
    place = tmp_path_factory.mktemp("formulas")
    for file in folder.iterdir():
        if file.name != "artifact.json":
            (place / file.name).write_bytes(file.read_bytes())
    write_record(place, make_record(labels=["=1+1", "@a", "-b"], metrics={}))
    return place


@pytest.fixture(scope="module")
def send(folder, formulas):
    with serving({"tiny": folder, "formulas": formulas}) as url, httpx.Client(base_url=url) as client:
        yield lambda body, **query: client.post("/v1/table", content=body, params=query)


def test_texts_of_files_are_repaired_as_they_are_read(send, folder):
    rows = [*csv.reader(io.StringIO(send("text\nsalt &amp; pepper\n").text))]
    expected = open_model(folder).predictor(["salt & pepper"])
    assert rows[1][:2] == ["salt &amp; pepper", expected.labels[0]]
    np.testing.assert_allclose([float(cell) for cell in rows[1][2:]], expected.probabilities[0], atol=1e-5)


def rows_of(answer, delimiter=","):
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.content.decode(), newline=""), delimiter=delimiter))


def test_each_row_gets_its_label_and_probabilities(send, folder):
    texts = [f'{text}, "said" {i}' for i in range(3) for text in TEXTS] + ["two\nlines"]
    assert len(texts) < LIMITS.max_texts * 3
    content = io.StringIO()
    csv.writer(content).writerows([["id", "text"], *enumerate(texts)])
    answer = send(content.getvalue().encode())
    header, *rows = rows_of(answer)
    assert header == ["id", "text", *ADDED]
    assert [row[:2] for row in rows] == [[str(i), text] for i, text in enumerate(texts)]
    expected = open_model(folder).predictor(texts)
    assert [row[2] for row in rows] == expected.labels and len(set(expected.labels)) > 1
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), expected.probabilities, atol=1e-4)
    assert max(len(cell) for row in rows for cell in row[3:]) <= 2 + DECIMALS
    assert answer.headers["X-Rows"] == str(len(texts))
    assert answer.headers["Content-Type"].startswith("text/csv")


def test_the_file_is_written_as_it_was(send):
    answer = send('\ufeffn;tweet\n1;"é; ""x"""\n'.encode(), text_column="tweet")
    assert answer.content.decode().splitlines()[1].startswith('1;"é; ""x""";')
    header, row = rows_of(answer, ";")
    assert header[:2] == ["n", "tweet"] and row[:2] == ["1", 'é; "x"']


def test_bytes_that_are_not_utf8_are_those_of_windows_unless_an_encoding_is_given(send):
    assert rows_of(send(b"text\ncaf\xe9 \x93a\x94\n"))[1][0] == "café “a”"
    assert rows_of(send("text\nγάτα\n".encode("iso8859-7"), encoding="iso8859-7"))[1][0] == "γάτα"
    answer = send(b"text\ncaf\xe9\n", encoding="utf-8")
    assert answer.status_code == 422
    assert "row 1, line 2, byte 8: 0xe9 is not valid utf-8; set encoding to" in answer.json()["error"]


def test_labels_that_are_formulas_are_escaped_and_other_cells_are_not(send):
    rows = rows_of(send(b"text,n\n=SUM(A1),-1\n", model="formulas"))
    assert rows[1][:2] == ["=SUM(A1)", "-1"]
    assert rows[1][2] in ("'=1+1", "'@a", "'-b")


def test_columns_may_be_positions_and_new_ones_have_a_prefix(send):
    rows = rows_of(send(b"1,fine\n2,bad\n", header="false", text_column="1"))
    assert len(rows) == 2 and rows[0][:2] == ["1", "fine"]
    assert rows_of(send(b"text,label\na,x\n", prefix="new_"))[0] == [
        "text",
        "label",
        *(f"new_{name}" for name in ADDED),
    ]


def test_a_file_without_rows_stays_without(send):
    assert rows_of(send(b"text\n")) == [["text", *ADDED]]


@pytest.mark.parametrize(
    ("body", "query", "status", "message"),
    [
        (b"", {}, 422, "the file: is empty, should have a header and rows"),
        (
            b"id,tweet\n1,a\n",
            {},
            422,
            "the file: no column 'text'; did you mean 'tweet'?; set text_column to one of 'id', 'tweet'",
        ),
        (
            b"text,label\na,b\n",
            {},
            422,
            "the column 'label' exists already and would be overwritten; set prefix=predicted_",
        ),
        (b"text,n\na,1\nb\n", {}, 422, "the file row 2 (line 3): got 1 fields, should be 2 (text, n)"),
        (b'text\n"a\n', {}, 422, "set quoted=false if quotes are plain text here"),
        (b"text\na\n", {"header": "maybe"}, 422, "header: "),
        (b"text\na\n", {"colour": "red"}, 422, "colour: "),
        (b"text\na\n", {"encoding": "klingon"}, 422, "encoding: got 'klingon', should be an encoding"),
        (b"text\na\n", {"model": "other"}, 404, "model: got 'other', should be one of tiny, formulas"),
        (b"text\na\n" + b"b" * 401 + b"\n", {}, 413, "row 2: got 401 characters, should be at most 400"),
        (b"text\n" + b"a\n" * 60_000, {}, 413, "should be at most that (stage.max_body_mb)"),
    ],
)
def test_what_cannot_be_labeled_is_refused_in_one_line(send, body, query, status, message):
    answer = send(body, **query)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert message in error and "\n" not in error and "data." not in error
