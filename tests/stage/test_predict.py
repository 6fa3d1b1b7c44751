"""A file is labeled, and its content is preserved."""

import csv
import fcntl
import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import chirplet.runtime.predictor
from artifacts import tiny_artifact
from checkpoints import TEXTS, tiny_bert, tiny_bertweet
from chirplet.artifact.artifact import RECORD, write_record
from chirplet.cli.binding import parse
from chirplet.config.schema import validate
from chirplet.data.batching.token_counts import TokenCounts
from chirplet.data.preparation.repair import repair
from chirplet.stage.predict import Labelled, Predict
from chirplet.system.error import ConfigError, DataError, Interrupted, ModelError
from places import CONF
from records import LABELS, make_record
from workbooks import write_workbook

PROBABILITIES = ["probability_negative", "probability_neutral", "probability_extremely_positive"]
ADDED = ["label", *PROBABILITIES]
FP32 = {"precision": "32-true"}


@pytest.fixture(scope="module")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tiny_bert(tmp_path_factory.mktemp("base"))
    return tiny_artifact(base, tmp_path_factory.mktemp("run") / "artifact")


def predict_file(artifact: Path, source: Path | str | list[str], target: Path, **changes: Any) -> Labelled:
    """What `run.py` does with `conf/stage/predict.yaml` and these changes."""
    keys = {}
    for name in ("data/_table.yaml", "stage/predict.yaml"):
        keys |= yaml.safe_load((CONF / name).read_text())
    del keys["_target_"], keys["defaults"]
    given = source if isinstance(source, list) else str(source)
    paths = {"artifact": str(artifact), "input": given, "output": str(target)}
    settings: Predict = validate(Predict, keys | paths | changes)
    return settings.label("cpu", None)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read_csv(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter, strict=True))


@pytest.fixture
def tweets_csv(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "texts.csv", [["id", "text"], *([str(i), text] for i, text in enumerate(TEXTS))])


@pytest.mark.parametrize(("checkpoint", "cleaning"), [(tiny_bert, "twitter_roberta"), (tiny_bertweet, "bertweet")])
def test_labels_and_probabilities_are_those_of_transformers(checkpoint, cleaning, tweets_csv, tmp_path):
    record = make_record(cleaning=cleaning)
    artifact_folder = tiny_artifact(checkpoint(tmp_path / "base"), tmp_path / "artifact", record)
    done = predict_file(artifact_folder, tweets_csv, tmp_path / "out.csv", batch_size=3, chunk_rows=7, **FP32)
    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == ["id", "text", *ADDED]
    model = AutoModelForSequenceClassification.from_pretrained(artifact_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(artifact_folder)
    for (number, text, label, *probabilities), example in zip(rows, TEXTS, strict=True):
        encoded = tokenizer(repair(example)[0], truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            expected = model(**encoded).logits.softmax(dim=1)[0]
        assert (example, example) == (text, TEXTS[int(number)])
        assert label == LABELS[int(expected.argmax())]
        assert [float(p) for p in probabilities] == pytest.approx(expected.tolist(), abs=1e-5)
        assert sum(float(p) for p in probabilities) == pytest.approx(1, abs=1e-7)
    assert done.texts == len(TEXTS) and done.blank == 0
    assert done.counts == {label: [row[2] for row in rows].count(label) for label in LABELS}
    assert len({row[2] for row in rows}) > 1, "a model with one prediction would test nothing"


def test_what_the_model_cannot_read_is_said(artifact_folder, tmp_path):
    source = write_csv(tmp_path / "in.csv", [["text"], ["\U0001f60d"], ["\U0001f621"], [" ".join(TEXTS[:4])]])
    done = predict_file(artifact_folder, source, tmp_path / "cut.csv", chunk_rows=2, **FP32)
    long, unknown = done.notes
    assert long == "1 of 3 texts are longer than 32 tokens; they are truncated, stage.windows=mean reads all of them"
    assert unknown.startswith("2 of ") and "unknown to the tokenizer; training with model.cleaning=emoji" in unknown
    done = predict_file(artifact_folder, source, tmp_path / "whole.csv", windows="mean", **FP32)
    assert done.notes[0] == "1 of 3 texts are longer than 32 tokens; they are read in windows (mean)"
    cut, whole = (read_csv(tmp_path / name) for name in ("cut.csv", "whole.csv"))
    assert cut[1][1:] == cut[2][1:]
    assert cut[3][2:] != whole[3][2:]


# No NUL and no half characters: both are refused, the one by a test below, the other by UTF-8 itself.
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["", " ", "a\rb", "a\r\nb", '"', '""', ",", "\n", "\t", "😂", "﻿x", "a,b\t'c'", "\u2028", "\x85", "\x1c"]
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(cells, cells), max_size=5), st.sampled_from([".csv", ".tsv"]))
def test_every_cell_is_preserved(artifact_folder, tmp_path, monkeypatch, rows, suffix):
    monkeypatch.setattr(chirplet.runtime.predictor.Predictor, "open", lambda *_, **__: Constant())
    source = write_csv(tmp_path / "in.csv", [["text", 'a "b",\r'], *map(list, rows)])
    predict_file(artifact_folder, source, tmp_path / f"out{suffix}", chunk_rows=2)
    again = read_csv(tmp_path / f"out{suffix}", "\t" if suffix == ".tsv" else ",")
    assert again[0] == ["text", 'a "b",\r', *ADDED]
    assert [tuple(row[:2]) for row in again[1:]] == rows


class Constant:
    """A predictor that always predicts Neutral."""

    def tokens(self, texts: list[str]) -> list[str]:
        return texts

    def counter(self, texts: list[str]) -> TokenCounts:
        return TokenCounts(texts=len(texts))

    def logits_of(self, texts: list[str]) -> Any:
        import numpy as np

        return np.log(np.tile(np.float32([0.25, 0.5, 0.25]), (len(texts), 1)))


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chirplet.runtime.predictor.Predictor, "open", lambda *_, **__: Constant())


def test_a_file_of_one_column_keeps_its_blank_texts(artifact_folder, tmp_path, constant):
    (tmp_path / "in.csv").write_text('text\n""\nx\n" "\n')
    done = predict_file(artifact_folder, tmp_path / "in.csv", tmp_path / "out.csv")
    assert [row[0] for row in read_csv(tmp_path / "out.csv")] == ["text", "", "x", " "]
    assert (done.texts, done.blank) == (3, 2)


def test_a_header_alone_gives_a_header(artifact_folder, tmp_path, constant):
    (tmp_path / "in.csv").write_text("text,n\n")
    assert predict_file(artifact_folder, tmp_path / "in.csv", tmp_path / "out.csv").texts == 0
    assert read_csv(tmp_path / "out.csv") == [["text", "n", *ADDED]]


def test_jsonl_lines_keep_their_very_characters(artifact_folder, tmp_path, constant):
    lines = [
        '{"id": 12345678901234567890, "text": "caf\\u00e9", "x": 1.10, "x": 1e400}',
        '{ "text":null , "new": {"deep": [1, null]} }',
        '{"text": "half \\ud83d"}',
    ]
    (tmp_path / "in.jsonl").write_text("\n\n".join(lines) + "\n")
    predict_file(artifact_folder, tmp_path / "in.jsonl", tmp_path / "out.jsonl", chunk_rows=2)
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    for line, before in zip(written, lines, strict=True):
        assert line.startswith(before[:-1].rstrip() + ", ")
        added = json.loads(line)
        assert [added[name] for name in ADDED] == ["Neutral", 0.25, 0.5, 0.25]


def parquet_table() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([1, 2, 3], pa.uint8()),
            "text": pa.array(["a", None, "c"]).dictionary_encode(),
            "at": pa.array([1, None, 1_600_000_000_123_456_789], pa.timestamp("ns", "UTC")),
            "tags": pa.array([["x"], [], None], pa.list_(pa.string())),
            "n": pa.array([1.5, None, float("nan")]),
        }
    ).replace_schema_metadata({"origin": "a test"})


def test_parquet_keeps_its_types_and_metadata(artifact_folder, tmp_path, constant):
    table = parquet_table()
    pq.write_table(table, tmp_path / "in.parquet")
    done = predict_file(artifact_folder, tmp_path / "in.parquet", tmp_path / "out.parquet", chunk_rows=2)
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.schema.names == [*table.schema.names, *ADDED]
    assert written.select(table.schema.names).drop_columns("n").equals(table.drop_columns("n"))
    assert written.schema.metadata[b"origin"] == b"a test"
    assert [str(written.schema.field(name).type) for name in ADDED] == ["string", "double", "double", "double"]
    assert done.blank == 1


def test_parquet_becomes_csv_and_jsonl(artifact_folder, tmp_path, constant):
    pq.write_table(parquet_table(), tmp_path / "in.parquet")
    predict_file(artifact_folder, tmp_path / "in.parquet", tmp_path / "out.csv")
    predict_file(artifact_folder, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    assert read_csv(tmp_path / "out.csv")[3][:5] == ["3", "c", "2020-09-13 12:26:40.123456789Z", "", "nan"]
    assert read_csv(tmp_path / "out.csv")[1][:5] == ["1", "a", "1970-01-01 00:00:00.000000001Z", '["x"]', "1.5"]
    third = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[2])
    assert third["id"] == 3 and third["tags"] is None and third["n"] is None and third["label"] == "Neutral"


def test_jsonl_becomes_a_table_of_all_keys(artifact_folder, tmp_path, constant, monkeypatch):
    rows = [
        '{"text": "a", "n": 1, "geo": {}}',
        '{"text": "b", "m": 1}',
        '{"text": "c", "n": "x", "m": 2.5, "geo": "y"}',
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper((tmp_path / "in.jsonl").open("rb")))
    for chunk_rows in (1, 9):
        predict_file(artifact_folder, tmp_path / "in.jsonl", tmp_path / "out.parquet", chunk_rows=chunk_rows)
        written = pq.read_table(tmp_path / "out.parquet").select(["text", "n", "geo", "m"]).to_pydict()
        assert written == {
            "text": ["a", "b", "c"],
            "n": ["1", None, "x"],
            "geo": ["{}", None, "y"],
            "m": [None, 1, 2.5],
        }
    predict_file(artifact_folder, "-", tmp_path / "out.csv", format="jsonl")
    assert [row[:4] for row in read_csv(tmp_path / "out.csv")] == [
        ["text", "n", "geo", "m"],
        ["a", "1", "{}", ""],
        ["b", "", "", "1"],
        ["c", "x", "y", "2.5"],
    ]


SAME = "Neutral,0.25,0.5,0.25"
"""What `Constant` adds to a row."""


@pytest.mark.parametrize(
    ("content", "changes", "expected"),
    [
        ("v1,text,,\na,x,,\nb,y,,z\n", {}, f"v1,text,,,{{added}}\na,x,,,{SAME}\nb,y,,z,{SAME}\n"),
        ("id;text\n1,5;a, b\n", {}, f"id;text;{{added}}\n1,5;a, b;{SAME}\n"),
        ("id;text\n1;a\n", {"delimiter": "semicolon"}, f"id;text;{{added}}\n1;a;{SAME}\n"),
        ("0,x\n4,y\n", {"header": False, "text_column": 1}, f"0,x,{SAME}\n4,y,{SAME}\n"),
        ('text\n"a \\"b\\", \\o/"\n', {"escape": "\\"}, f'text,{{added}}\n"a \\"b\\", \\o/",{SAME}\n'),
    ],
)
def test_csv_is_written_as_it_was(content, changes, expected, artifact_folder, tmp_path, constant):
    (tmp_path / "in.csv").write_text(content)
    predict_file(artifact_folder, tmp_path / "in.csv", tmp_path / "out.csv", **changes)
    mark = ";" if ";" in content else ","
    added = mark.join(ADDED)
    assert (tmp_path / "out.csv").read_text() == expected.format(added=added).replace(SAME, SAME.replace(",", mark))


def test_columns_without_names_get_some_in_other_formats(artifact_folder, tmp_path, constant):
    (tmp_path / "in.csv").write_text("text,,text2,text2\na,b,c,d\n")
    predict_file(artifact_folder, tmp_path / "in.csv", tmp_path / "out.jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text())
    assert list(first) == ["text", "1", "text2", "text2_3", *ADDED]
    (tmp_path / "in.csv").write_text("a,b\n")
    changes = {"header": False, "text_column": 0}
    predict_file(artifact_folder, tmp_path / "in.csv", tmp_path / "out.parquet", **changes)
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["0", "1", *ADDED]
    predict_file(artifact_folder, tmp_path / "in.csv", tmp_path / "out.tsv", **changes)
    assert read_csv(tmp_path / "out.tsv", "\t")[0] == ["0", "1", *ADDED]


def test_several_files_become_one(artifact_folder, tmp_path, constant):
    for name, text in (("b", "x"), ("a", "y")):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(f"id,text\n1,{text}\n".encode()))
    for source in (f"{tmp_path}/?.csv.gz", [f"{tmp_path}/a.csv.gz", f"{tmp_path}/b.csv.gz"]):
        assert predict_file(artifact_folder, source, tmp_path / "out.csv.gz").texts == 2
        written = gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).decode().splitlines()
        assert written == [f"id,text,{','.join(ADDED)}", f"1,y,{SAME}", f"1,x,{SAME}"]
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"text\nz\n"))
    with pytest.raises(DataError, match=r"c\.csv\.gz: has the columns 'text', .*a\.csv\.gz has 'id', 'text'"):
        predict_file(artifact_folder, f"{tmp_path}/?.csv.gz", tmp_path / "out.csv")
    for source, target, message in (
        (f"{tmp_path}/*.csv.gz", "out.csv.gz", "which is the input"),
        (f"{tmp_path}/*.tsv", "out.csv", "matches no file"),
        (f"{tmp_path}/*.csv.gz", "out.csv.zst", r"should end in \.gz"),
        (f"{tmp_path}/*.csv.gz", "out.xlsx", "Excel is only read"),
    ):
        with pytest.raises(ConfigError, match=message):
            predict_file(artifact_folder, source, tmp_path / target)


def test_a_workbook_is_labeled(artifact_folder, tmp_path, constant):
    write_workbook(tmp_path / "in.xlsx", {"Sheet1": [["text", "n"], [5, 1.5], [None, True]]})
    predict_file(artifact_folder, tmp_path / "in.xlsx", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == f"text,n,{','.join(ADDED)}\n5,1.5,{SAME}\n,True,{SAME}\n"


def test_numbers_in_a_column_of_texts_are_labeled(artifact_folder, tmp_path, monkeypatch):
    seen: list[str] = []
    predictor = Constant()
    monkeypatch.setattr(
        Constant, "tokens", lambda self, texts, before=Constant.tokens: seen.extend(texts) or before(self, texts)
    )
    monkeypatch.setattr(chirplet.runtime.predictor.Predictor, "open", lambda *_, **__: predictor)
    pq.write_table(pa.table({"text": [1.0, None, 2.5]}), tmp_path / "in.parquet")
    predict_file(artifact_folder, tmp_path / "in.parquet", tmp_path / "out.parquet")
    (tmp_path / "in.jsonl").write_text('{"text": 7}\n{"text": true}\n')
    predict_file(artifact_folder, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert seen == ["1", "", "2.5", "7", "True"]
    assert pq.read_table(tmp_path / "out.parquet").column("text").to_pylist() == [1.0, None, 2.5]


def test_other_encodings_and_quotes_as_plain_text(artifact_folder, tmp_path, constant):
    (tmp_path / "in.tsv").write_bytes('text\tn\n"caf\u00e9\t1\n'.encode("cp1252"))
    predict_file(artifact_folder, tmp_path / "in.tsv", tmp_path / "out.tsv", encoding="cp1252", quoted=False)
    assert (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()[1].startswith('"café\t1\tNeutral')
    predict_file(artifact_folder, tmp_path / "in.tsv", tmp_path / "out.csv", encoding="cp1252", quoted=False)
    assert read_csv(tmp_path / "out.csv")[1][:2] == ['"café', "1"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "in.csv",
            b"id,txt\n1,a\n",
            r"no column 'text'; did you mean 'txt'\?; set stage.text_column to one of 'id', 'txt'",
        ),
        ("in.csv", b"text,label\na,b\n", r"the column 'label' exists already.*stage.prefix=predicted_"),
        ("in.jsonl", b'{"text": "a"}\n{"text": "b", "label": 1}\n', r"row 2: the column 'label' exists already"),
        ("in.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', r"row 2: no 'text'; give it null"),
        ("in.jsonl", b'{"text": "a"}\n{"text": [5]}\n', r"row 2: 'text' is \[5\], should be text"),
        ("in.jsonl", b'{"text": "a"}\n{"text"\n', r"row 2: not valid JSON"),
        ("in.jsonl", b'{"text": "a"}\n[1]\n', r"row 2: got list, should be a JSON object"),
        ("in.jsonl", b"\n", r"is empty"),
        ("in.csv", b"", r"is empty"),
        ("in.csv", b"text,n\na,1\nb\n", r"row 2 .*got 1 fields, should be 2"),
        ("in.csv", b"text,n\na,1\nb\0,2\n", r"a NUL byte"),
        ("in.csv", b"text,n\na,1\nb\xff,2\n", r"0xff is not valid utf-8; set stage.encoding"),
        ("in.parquet", b"PAR1 but no more", r"not a Parquet file"),
    ],
)
def test_a_bad_file_raises_in_one_line_and_the_old_output_stays(
    artifact_folder, tmp_path, constant, name, content, message
):
    (tmp_path / name).write_bytes(content)
    output = (tmp_path / "out").with_suffix(Path(name).suffix)
    output.write_text("old")
    with pytest.raises(DataError, match=message) as caught:
        predict_file(artifact_folder, tmp_path / name, output, chunk_rows=1)
    assert "\n" not in str(caught.value)
    assert output.read_text() == "old"
    assert names_in(tmp_path) == sorted([name, output.name])


def test_a_column_of_lists_has_no_texts(artifact_folder, tmp_path):
    pq.write_table(pa.table({"text": [["a"], []]}), tmp_path / "in.parquet")
    with pytest.raises(DataError, match=r"in.parquet row 1: 'text' is \['a'\], should be text"):
        predict_file(artifact_folder, tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_a_prefix_avoids_an_existing_label_column(artifact_folder, tmp_path, constant):
    (tmp_path / "in.csv").write_text("text,label\na,b\n")
    predict_file(artifact_folder, tmp_path / "in.csv", tmp_path / "out.csv", prefix="predicted_")
    assert read_csv(tmp_path / "out.csv")[0] == ["text", "label", *(f"predicted_{name}" for name in ADDED)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artifact": "{folder}/artifac"}, r"artifact: no artifact at .*did you mean 'artifact'"),
        ({"source": "{tmp}/text.csv"}, r"input: got .*no file.*did you mean 'texts.csv'"),
        ({"source": "{tmp}"}, r"input: got .*a folder; .*in it are link.csv, texts.csv"),
        ({"target": "{tmp}/no/out.csv"}, r"output: got .*folder .*does not exist"),
        ({"target": "{tmp}"}, r"output: got .*should be a regular file"),
        ({"target": "/dev/null"}, r"output: got '/dev/null', should be a regular file"),
        ({"target": "{tmp}/texts.csv"}, r"output: got .*which is the input; should be another file"),
        ({"target": "{tmp}/link.csv"}, r"output: got .*which is the input; should be another file"),
        ({"target": "{tmp}/out.doc"}, r"got the suffix '.doc', should be one of .*set stage.output_format"),
        ({"encoding": "utf-9"}, r"encoding: got 'utf-9'"),
        ({"batch_size": 0}, r"batch_size: got 0"),
    ],
)
def test_invalid_settings_raise_before_anything_is_read(artifact_folder, tweets_csv, tmp_path, change, message):
    (tmp_path / "link.csv").symlink_to(tweets_csv)
    arguments: dict[str, Any] = {"artifact": artifact_folder, "source": tweets_csv, "target": tmp_path / "out.csv"}
    places = {"folder": artifact_folder.parent, "tmp": tmp_path}
    arguments |= {key: value.format(**places) if isinstance(value, str) else value for key, value in change.items()}
    with pytest.raises(ConfigError, match=message):
        predict_file(**arguments)


def test_a_full_disk_leaves_the_old_output(artifact_folder, tweets_csv, tmp_path, constant, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(DataError, match="No space left on device; the old file is unchanged"):
        predict_file(artifact_folder, tweets_csv, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"
    assert names_in(tmp_path) == ["out.csv", "texts.csv"]


def test_a_model_without_its_head_is_refused(artifact_folder, tweets_csv, tmp_path):
    from safetensors.torch import load_file, save_file

    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in artifact_folder.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = load_file(damaged / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights \(classifier.weight"):
        predict_file(damaged, tweets_csv, tmp_path / "out.csv")
    (damaged / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be opened"):
        predict_file(damaged, tweets_csv, tmp_path / "out.csv")


def test_repair_is_done_where_training_did_it(artifact_folder, tmp_path, monkeypatch):
    seen: list[list[str]] = []
    original = chirplet.runtime.predictor.tokenize
    monkeypatch.setattr(
        chirplet.runtime.predictor, "tokenize", lambda texts, *rest: seen.append(texts) or original(texts, *rest)
    )
    (tmp_path / "in.csv").write_text("text\nsalt &amp; pepper\n")
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in artifact_folder.iterdir():
        (bare / file.name).write_bytes(file.read_bytes())
    (bare / RECORD).unlink()
    write_record(bare, make_record(config={"data": {"repair": False}}))
    for folder in (artifact_folder, bare):
        predict_file(folder, tmp_path / "in.csv", tmp_path / "out.csv")
    assert seen == [["salt & pepper"], ["salt &amp; pepper"]]


@pytest.fixture
def stage(compose_config: Callable[..., Any]) -> Callable[..., Any]:
    """The stage and the rest of a run, from the real configuration."""

    def bound(*overrides: str) -> Any:
        return parse(compose_config("stage=predict", "trainer=cpu", *overrides))

    return bound


def test_missing_keys_are_named(stage):
    experiment = stage()
    assert isinstance(experiment.stage, Predict)
    with pytest.raises(ConfigError) as caught:
        experiment.stage.check(experiment)
    assert str(caught.value).splitlines() == [
        "artifact: is missing; give artifact=DIR",
        "input: is missing; give input=FILE",
        "output: is missing; give output=FILE",
    ]


def test_a_pipe_has_the_table_alone_on_standard_output(
    stage, artifact_folder, tweets_csv, constant, monkeypatch, capsysbinary
):
    experiment = stage(f"artifact={artifact_folder}", "input=-", "output=-", "stage.output_format=jsonl")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(tweets_csv.open("rb")))
    experiment.stage.run(experiment)
    captured = capsysbinary.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    assert f"labeled  {len(TEXTS)} texts" in captured.err.decode()


def test_the_summary_names_counts_and_the_output(stage, artifact_folder, tweets_csv, tmp_path, constant, capsys):
    output = tmp_path / "out.parquet"
    experiment = stage(f"artifact={artifact_folder}", f"input={tweets_csv}", f"output={output}")
    experiment.stage.run(experiment)
    message = capsys.readouterr().out
    assert f"output    {output}\n" in message
    assert f"Neutral            │    {len(TEXTS)}" in message
    assert pq.read_table(output).column("text").to_pylist() == TEXTS


@pytest.mark.parametrize(
    ("head", "column"), [(["review", "text"], None), (["id", "text"], None), (["review", "x"], "x")]
)
def test_the_column_is_the_one_trained_on_where_the_input_has_it(head, column, tmp_path):
    """Else `text`, and the user's before both."""
    record = make_record(config={"data": {"repair": True, "text_column": "review"}})
    folder = tiny_artifact(tiny_bert(tmp_path / "base"), tmp_path / "artifact", record)
    source = write_csv(tmp_path / "in.csv", [head, *[[TEXTS[i], TEXTS[-i]] for i in range(8)]])
    predict_file(folder, source, tmp_path / "out.csv", text_column=column)
    texts = [row[column or ("review" if "review" in head else "text")] for row in csv.DictReader(source.open())]
    labels = [row["label"] for row in csv.DictReader((tmp_path / "out.csv").open())]
    assert labels == chirplet.runtime.predictor.load(folder)(texts).labels


class Counting(Constant):
    """A predictor whose logits depend on the text, and which is interrupted after some chunks."""

    def __init__(self, chunks: int) -> None:
        self.left = chunks
        self.texts: list[str] = []

    def logits_of(self, texts: list[str]) -> Any:
        import numpy as np

        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.texts += texts
        return np.float32([[len(text), ord(text[-1]) - 50, 1] for text in texts])


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Counting]:
    def opened(chunks: int) -> Counting:
        predictor = Counting(chunks)
        monkeypatch.setattr(chirplet.runtime.predictor.Predictor, "open", lambda *_, **__: predictor)
        return predictor

    return opened


ALL = -1
ROWS = [f"row {i}" for i in range(10)]


def kept_after(
    counting: Callable[[int], Counting], artifact_folder: Path, folder: Path, output: str, chunks: int
) -> Path:
    """The input of a prediction that was interrupted after so many chunks of three rows."""
    source = write_csv(folder / "in.csv", [["text"], *([row] for row in ROWS)])
    counting(chunks)
    with pytest.raises(Interrupted if chunks else KeyboardInterrupt) as caught:
        predict_file(artifact_folder, source, folder / output, chunk_rows=3)
    if chunks:
        assert str(caught.value) == f"interrupted; the same command resumes at row {3 * chunks + 1}"
    assert not (folder / output).exists()
    return source


@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.csv.gz"])
def test_an_interrupted_prediction_resumes_and_writes_the_same_bytes(
    counting, artifact_folder, tmp_path, capsys, output
):
    source = kept_after(counting, artifact_folder, tmp_path, output, 2)
    assert names_in(tmp_path) == [f".{output}.logits", "in.csv"]
    with (tmp_path / f".{output}.logits").open("ab") as kept:
        kept.write(b"half a frame, as a kill leaves it")
    predictor = counting(ALL)
    done = predict_file(artifact_folder, source, tmp_path / output, chunk_rows=3)
    assert predictor.texts == ROWS[6:]
    assert (done.texts, done.kept) == (10, 6)
    assert f"resumes at row 7; {tmp_path}/.{output}.logits has" in capsys.readouterr().out
    counting(ALL)
    predict_file(artifact_folder, source, tmp_path / f"whole_{output}", chunk_rows=3)
    assert (tmp_path / output).read_bytes() == (tmp_path / f"whole_{output}").read_bytes()
    assert names_in(tmp_path) == sorted(["in.csv", output, f"whole_{output}"])


def test_nothing_stays_of_a_prediction_that_was_interrupted_in_its_first_chunk(counting, artifact_folder, tmp_path):
    kept_after(counting, artifact_folder, tmp_path, "out.csv", 0)
    assert names_in(tmp_path) == ["in.csv"]


@pytest.mark.parametrize(
    ("content", "more", "reason"),
    [
        ("text\n" + "\n".join(reversed(ROWS)) + "\n", {}, "is of another input"),
        (None, {"batch_size": 7}, "is of another stage.batch_size"),
        (None, {"chunk_rows": 2}, "is of another stage.chunk_rows"),
    ],
)
def test_a_prediction_of_other_rows_or_settings_starts_at_row_1_and_says_why(
    counting, artifact_folder, tmp_path, capsys, content, more, reason
):
    source = kept_after(counting, artifact_folder, tmp_path, "out.csv", 2)
    if content is not None:
        source.write_text(content)
    predictor = counting(ALL)
    predict_file(artifact_folder, source, tmp_path / "out.csv", **({"chunk_rows": 3} | more))
    assert len(predictor.texts) == len(ROWS)
    assert capsys.readouterr().out.splitlines() == [f"starts at row 1, since {tmp_path}/.out.csv.logits {reason}"]
    assert [row[0] for row in read_csv(tmp_path / "out.csv")[1:]] == predictor.texts


def test_another_prefix_and_format_resume_too(counting, artifact_folder, tmp_path):
    source = kept_after(counting, artifact_folder, tmp_path, "out.csv", 3)
    predictor = counting(ALL)
    predict_file(artifact_folder, source, tmp_path / "out.csv", chunk_rows=3, prefix="p_", output_format="tsv")
    assert predictor.texts == ROWS[9:]


@pytest.mark.parametrize("damaged", [b"", b"x" * 40, b'{"artifact": 1}\n'])
def test_a_damaged_file_of_logits_is_not_used(counting, artifact_folder, tmp_path, damaged):
    source = kept_after(counting, artifact_folder, tmp_path, "out.csv", 2)
    (tmp_path / ".out.csv.logits").write_bytes(damaged)
    predictor = counting(ALL)
    predict_file(artifact_folder, source, tmp_path / "out.csv", chunk_rows=3)
    assert predictor.texts == ROWS


def test_a_changed_byte_of_the_logits_is_noticed(counting, artifact_folder, tmp_path):
    source = kept_after(counting, artifact_folder, tmp_path, "out.csv", 2)
    kept = tmp_path / ".out.csv.logits"
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    predictor = counting(ALL)
    predict_file(artifact_folder, source, tmp_path / "out.csv", chunk_rows=3)
    assert predictor.texts == ROWS[3:]


def test_a_second_command_for_the_same_output_is_refused(counting, artifact_folder, tmp_path):
    source = kept_after(counting, artifact_folder, tmp_path, "out.csv", 2)
    counting(ALL)
    with (tmp_path / ".out.csv.logits").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"^output: another command is writing '\S+out\.csv'; wait for it, or give"):
            predict_file(artifact_folder, source, tmp_path / "out.csv", chunk_rows=3)
    assert names_in(tmp_path) == [".out.csv.logits", "in.csv"]
