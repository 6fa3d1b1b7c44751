import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chirplet.data.base import Source
from chirplet.data.preparation import corpus_cache
from chirplet.data.preparation.prepare import build, prepare
from chirplet.system.error import DataError

Make = Callable[..., Source]


def test_every_flaw_is_counted_and_dropped_from_train(make_source: Make, csv_file: Path, tmp_path: Path) -> None:
    corpus = prepare(make_source("csv", train=str(csv_file), val_fraction=0.0, test_fraction=0.0), tmp_path)
    assert corpus.sizes() == {"train": 116, "val": 0, "test": 0}
    report = corpus.report
    assert report.read == {"train": 120}
    assert (report.repaired, report.repaired_cells) == ({"html": 1, "encoding": 0}, 1)
    assert report.found == {
        "blank": 1, "duplicate": 2, "conflict": 2, "conflict_texts": 1, "leak_val": 0, "leak_test": 0,
    }  # fmt: skip
    assert report.dropped == {"blank": 1, "leak_test": 0, "leak_val": 0, "conflict": 2, "duplicate": 1}
    assert report.examples["conflict"] == ["own.csv:119", "own.csv:120"]
    assert report.examples["duplicate"] == ["own.csv:118", "own.csv:120"]


def test_duplicates_among_contradictions_are_kept_with_them(make_source: Make, csv_file: Path, tmp_path: Path) -> None:
    source = make_source("csv", train=str(csv_file), conflicts="keep", val_fraction=0.0, test_fraction=0.0)
    corpus = prepare(source, tmp_path)
    assert {"own.csv:119", "own.csv:120"} <= set(corpus.train.row_id)
    assert "own.csv:118" not in corpus.train.row_id


def test_leaks_leave_train_and_stay_in_test(make_any: Make, tmp_path: Path) -> None:
    corpus = prepare(make_any("corona_nlp", val_fraction=0.0), tmp_path / "cache")
    assert corpus.report.found["leak_test"] == corpus.report.dropped["leak_test"] == 1
    assert corpus.report.examples["leak_test"] == ["Corona_NLP_train.csv:5"]
    assert "Corona_NLP_test.csv:1" in corpus.test.row_id
    assert corpus.sizes() == {"train": 99, "val": 0, "test": 10}


def test_fractions_are_of_the_whole(make_source: Make, csv_file: Path, tmp_path: Path) -> None:
    corpus = prepare(make_source("csv", train=str(csv_file), val_fraction=0.1, test_fraction=0.2), tmp_path)
    assert (len(corpus.val), len(corpus.test)) == (12, 24)


def test_two_processes_write_the_same_bytes(make_source: Make, csv_file: Path, tmp_path: Path) -> None:
    source = make_source("csv", train=str(csv_file))
    for processes in (1, 2):
        corpus_cache.write(build(source, [csv_file], processes), tmp_path / f"{processes}.arrow")
    assert (tmp_path / "1.arrow").read_bytes() == (tmp_path / "2.arrow").read_bytes()


def test_a_change_of_input_or_settings_is_seen_a_move_is_not(make_source: Make, csv_file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = prepare(make_source("csv", train=str(csv_file)), cache)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(csv_file, tmp_path / "elsewhere" / csv_file.name)
    assert prepare(make_source("csv", train=str(moved)), cache).fingerprint == first.fingerprint
    assert len(list((cache / "corpus").glob("*.arrow"))) == 1
    assert prepare(make_source("csv", train=str(csv_file), repair=False), cache).fingerprint != first.fingerprint
    csv_file.write_text(csv_file.read_text().replace("number 7 ", "number seven "))
    changed = prepare(make_source("csv", train=str(csv_file)), cache)
    assert changed.fingerprint != first.fingerprint
    assert any("number seven " in text for text in changed.train.text + changed.val.text + changed.test.text)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_entry_is_built_again(
    make_source: Make, csv_file: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_source("csv", train=str(csv_file))
    first = prepare(source, tmp_path)
    [entry] = (tmp_path / "corpus").glob("*.arrow")
    content = entry.read_bytes()
    flipped = content.replace(b"tweet number 7 ", b"tweet number 8 ")
    entry.write_bytes({"cut": content[:-100], "flip": flipped, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert prepare(source, tmp_path).fingerprint == first.fingerprint
    assert "is damaged" in caplog.text
    caplog.clear()
    prepare(source, tmp_path)
    assert not caplog.records


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "has a header but no rows"),
        ("a,good\nb,good\n", r"train has 2 tweets with 1 label\(s\), should have two labels or more"),
        (
            "a,good\na,bad\nb,good\n" * 10,
            r"29 of 30 left out: 20 with conflicting labels, 9 duplicates; train has 1 tweets with 1 label",
        ),
    ],
)
def test_nothing_to_learn(make_source: Make, tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + rows)
    with pytest.raises(DataError, match=message):
        prepare(make_source("csv", train=str(path), val_fraction=0.0, test_fraction=0.0), tmp_path)


def test_a_repair_of_another_version_is_not_reused(
    make_source: Make, csv_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(make_source("csv", train=str(csv_file)), tmp_path)
    monkeypatch.setattr("chirplet.data.preparation.prepare.REPAIR_VERSION", 0)
    prepare(make_source("csv", train=str(csv_file)), tmp_path)
    assert len(list((tmp_path / "corpus").glob("*.arrow"))) == 2


def test_a_cache_that_cannot_be_made(make_source: Make, csv_file: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be created .*set cache_dir"):
        prepare(make_source("csv", train=str(csv_file)), csv_file / "cache")


def test_files_of_patterns_belong_to_their_split(make_source: Make, tmp_path: Path) -> None:
    """Three files are train, train and test, or train, test and test: the same files, but another corpus."""
    rows = "text,label\n" + "".join(f"{{0}} {n},{'ab'[n % 2]}\n" for n in range(8))
    for folder, names in (("x", "pq"), ("y", "r"), ("u", "p"), ("v", "qr")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.csv").write_text(rows.format(name))
    settings = {"val_fraction": 0.0, "leaks": "keep"}
    one, other = (
        prepare(
            make_source("csv", train=f"{tmp_path}/{train}/*.csv", test=f"{tmp_path}/{test}/*.csv", **settings), tmp_path
        )
        for train, test in (("x", "y"), ("u", "v"))
    )
    assert (one.sizes()["test"], other.sizes()["test"]) == (8, 16)
