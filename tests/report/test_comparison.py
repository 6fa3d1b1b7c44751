"""Which artifacts are compared, with what, and the figures that come out, by hand."""

import csv
import io

import numpy as np
import pytest

from chirplet.artifact import Artifact
from chirplet.data.corpus import Tweets
from chirplet.error import ArtifactError
from chirplet.metric.significance import mcnemar_p
from chirplet.report.comparison import advise, compare, find_artifacts, front, names_of, open_candidates
from chirplet.report.comparison_table import as_csv, comparison_table, markdown
from comparisons import TRUTH, TWEETS, N, ancestor, family, write_artifact
from records import make_record


def compared(folders, baseline=None, split=None):
    candidates, judged = open_candidates(folders, split)
    return compare(candidates, judged, baseline, seed=0)


def by_name(comparison):
    return {row.name: row for row in comparison.rows}


def test_patterns_find_each_artifact_once(tmp_path):
    folders = family(tmp_path / "out")
    (tmp_path / "out" / ".artifact.1.tmp").mkdir()
    assert find_artifacts([f"{tmp_path}/out/**/artifact"]) == sorted(folders)
    assert find_artifacts([str(folders[0]), f"{tmp_path}/*/*/artifact"])[0] == folders[0]
    assert len(find_artifacts([str(folders[0]), f"{tmp_path}/*/*/artifact"])) == 3


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("{}/out/*.none", "which finds no artifact"),
        ("{}/ou/**/artifact", "no folder '.*/ou'; did you mean 'out'"),
        ("{}/out/teacher", "did you mean '.*teacher/artifact'"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, pattern, told):
    family(tmp_path / "out")
    with pytest.raises(ArtifactError, match=told):
        find_artifacts([pattern.format(tmp_path)])


def test_names_are_the_shortest_ends_that_tell_folders_apart(tmp_path):
    folders = [tmp_path / "a" / "x" / "artifact", tmp_path / "b" / "x" / "artifact", tmp_path / "b" / "y"]
    assert names_of(folders) == ["a/x", "b/x", "y"]


def test_drops_and_lineage_by_hand(tmp_path):
    comparison = compared(family(tmp_path))
    assert (comparison.baseline, comparison.split) == ("teacher", "test")
    rows = by_name(comparison)
    int8, student = rows["int8"], rows["student"]
    assert int8.from_parent.value == int8.from_baseline.value == pytest.approx(1 / N)
    assert int8.from_baseline.low <= 1 / N <= int8.from_baseline.high
    assert int8.from_baseline.mcnemar_p == 1.0
    right, others = (np.arange(N) < count for count in (35, 28))
    assert student.from_parent.mcnemar_p == mcnemar_p(right, others) == 2 / 2**7
    assert rows["teacher"].from_parent is None
    assert (rows["teacher"].from_baseline.value, rows["teacher"].from_baseline.high) == (0.0, 0.0)
    assert student.control == {"accuracy": 0.5, "gain": 0.2, "low": 0.1, "high": 0.3, "mcnemar_p": 0.01}


def test_the_baseline_may_be_chosen_and_must_be_there(tmp_path):
    folders = family(tmp_path)
    assert by_name(compared(folders, "student"))["int8"].from_baseline.value == pytest.approx((28 - 34) / N)
    with pytest.raises(ArtifactError, match=r"got 'studnt', should be one of .*; did you mean 'student'"):
        compared(folders, "studnt")


def test_seeds_of_the_same_run_are_folded(tmp_path):
    folders = []
    for seed, right in ((1, 34), (2, 36)):
        parent, base = f"a{seed}".ljust(64, "0"), make_record().lineage[0]
        config = {"data": {"repair": True}, "seed": seed}
        folders.append(
            write_artifact(tmp_path / str(seed) / "teacher", parent, {"test": right}, seed=seed, config=config)
        )
        lineage = [base, ancestor(parent, "finetune")]
        changes = {"stage": "quantize", "parent": parent, "lineage": lineage, "seed": seed, "config": config}
        folders.append(write_artifact(tmp_path / str(seed) / "int8", f"b{seed}", {"test": right - seed}, **changes))
    comparison = compared(folders)
    rows = by_name(comparison)
    assert list(rows) == ["teacher", "int8"] and comparison.baseline == "teacher"
    assert rows["teacher"].seeds == [1, 2]
    assert rows["teacher"].figures["test/accuracy"] == pytest.approx(35 / N)
    assert rows["teacher"].spread["test/accuracy"] == pytest.approx(np.std([34 / N, 36 / N], ddof=1))
    # Each seed from its own teacher: one and two tweets.
    assert rows["int8"].from_parent.value == pytest.approx(1.5 / N)
    assert rows["int8"].from_parent.mcnemar_p is None
    assert "0.8750 ± 0.0354" in markdown(comparison)
    line = next(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert (line["seed"], line["runs"], float(line["test/accuracy_sd"])) == (
        "1 2",
        "2",
        pytest.approx(0.0354, abs=1e-4),
    )


def test_the_same_seed_twice_and_other_settings_are_not_folded(tmp_path):
    folders = [
        write_artifact(tmp_path / "a", "a", {"test": 30}),
        write_artifact(tmp_path / "b", "b", {"test": 31}),
        write_artifact(tmp_path / "c", "c", {"test": 32}, seed=7, settings={"learning_rate": 1.0}),
    ]
    assert [row.name for row in compared(folders).rows] == ["a", "b", "c"]


def test_what_differs_is_told_and_nothing_is_compared(tmp_path):
    first = write_artifact(tmp_path / "first", "a", {"test": 30})
    data = make_record().data.model_copy(update={"fingerprint": "0" * 64})
    other = write_artifact(tmp_path / "other", "b", {"test": 30}, data=data, config={"data": {"repair": False}})
    with pytest.raises(ArtifactError, match=r"'first' was made from data=vader_tweets data.repair=True, 'other' from"):
        compared([first, other])
    labels = write_artifact(tmp_path / "labels", "c", {"test": 30}, labels=["x", "y", "z"])
    with pytest.raises(ArtifactError, match=r"'first' has the labels Negative, .* 'labels' has x, y, z"):
        compared([first, labels])
    fewer = Tweets(TWEETS.row_id[:-1], TWEETS.text[:-1], TRUTH[:-1].astype(np.int64), TWEETS.date[:-1])
    write_artifact(tmp_path / "fewer", "d", {"val": 30})
    with pytest.raises(ArtifactError, match="'fewer' was not judged on test, and others were"):
        compared([first, tmp_path / "fewer"])
    assert len(fewer) == N - 1


def test_validation_is_what_is_compared_where_none_was_tested(tmp_path):
    folders = [write_artifact(tmp_path / name, name, {"val": count}) for name, count in (("a", 30), ("b", 31))]
    assert compared(folders).split == "val"
    with pytest.raises(ArtifactError, match="'a' was not judged on test"):
        compared(folders, split="test")


def test_the_front_is_what_no_other_beats(tmp_path):
    rows = compared(family(tmp_path)).rows
    assert [row.name for row in front(rows, "cost/mb", "test/accuracy", more_is_better=False)] == ["int8", "teacher"]
    assert [row.name for row in front(rows, "cost/tweets_per_s", "test/accuracy", more_is_better=True)] == [
        "int8",
        "teacher",
    ]


def test_the_advice_is_the_fastest_that_is_right_enough_on_validation(tmp_path):
    comparison = compared(family(tmp_path))
    advice = advise(comparison, 0.0)
    assert (advice.row.name, advice.split) == ("int8", "val")  # no drop on val, though there is one on test
    assert (advice.times_tweets_per_s, advice.times_smaller) == (4.0, 4.0)
    unmeasured = write_artifact(tmp_path / "unmeasured", "e", {"val": 36, "test": 35}, seed=9)
    assert advise(compared([*family(tmp_path / "again"), unmeasured]), 0.01) is None


def test_markdown_csv_and_the_terminal_say_the_same(tmp_path):
    comparison = compared(family(tmp_path))
    lines = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [line["run"] for line in lines] == ["teacher", "int8", "student"]
    assert float(lines[1]["test/accuracy"]) == 34 / N and float(lines[1]["cost/mb"]) == 22.5
    assert lines[1]["parent"].startswith("bbb"[:0] + "aaa") and lines[0]["drop_from_parent"] == ""
    for name in ("val/f1_weighted", "test/recall_macro", "cost/params_nonzero", "cost/latency_ms_p95", "control_gain"):
        assert name in lines[0]
    text = markdown(comparison)
    assert "| int8 | quantize onnx_int8 |" in text and "4.00" in text
    assert [column.header for column in comparison_table(comparison).columns][:3] == ["run", "how", "accuracy"]


def test_a_random_start_is_told(tmp_path):
    family(tmp_path)
    base = make_record().lineage[0].model_copy(update={"pretrained": False})
    fresh = write_artifact(tmp_path / "fresh", "f", {"test": 30}, pretrained=False, lineage=[base])
    text = markdown(compared([*sorted(tmp_path.glob("*/artifact")), fresh]))
    assert text.count("(NOT PRETRAINED)") == 1


def test_an_artifact_without_overrides_in_its_record_is_from_before_they_were_kept(tmp_path):
    assert Artifact.open(write_artifact(tmp_path / "a", "a", {"test": 30})).record.overrides is None
