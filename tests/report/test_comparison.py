"""Which artifacts are compared, with what, and the figures that come out, by hand."""

import csv
import io
import shutil

import numpy as np
import pytest

from chirplet.artifact.artifact import Artifact
from chirplet.data.base import Examples
from chirplet.metric.significance import mcnemar_p
from chirplet.report.candidates import open_candidates
from chirplet.report.comparison import advise, compare, front, has_baseline
from chirplet.report.comparison_csv import as_csv
from chirplet.report.comparison_table import columns, comparison_table, markdown, notes
from chirplet.system.console import console
from chirplet.system.error import ArtifactError
from comparisons import EXAMPLES, N, ancestor, cost, family, write_artifact
from records import make_record


def compared(folders, baseline=None, split=None):
    (group,) = open_candidates(folders, split)
    return compare(group, baseline, seed=0)


def by_name(comparison):
    return {row.name: row for row in comparison.rows}


def test_a_copy_is_the_same_artifact(tmp_path):
    folders = family(tmp_path)
    shutil.copytree(folders[0], tmp_path / "copy")
    assert [row.name for row in compared([*folders, tmp_path / "copy"]).rows] == ["teacher", "int8", "student"]


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
    assert student.label_only_baseline == {"accuracy": 0.5, "gain": 0.2, "low": 0.1, "high": 0.3, "mcnemar_p": 0.01}


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
    # Each seed from its own teacher: one and two texts.
    assert rows["int8"].from_parent.value == pytest.approx(1.5 / N)
    assert rows["int8"].from_parent.mcnemar_p is None
    assert "0.8750 ± 0.0354" in markdown([comparison])
    line = next(csv.DictReader(io.StringIO(as_csv([comparison]))))
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


def test_other_texts_are_another_group_and_different_texts_of_one_are_told(tmp_path):
    first = write_artifact(tmp_path / "first", "a", {"test": 30})
    data = make_record().data.model_copy(update={"fingerprint": "0" * 64})
    other = write_artifact(tmp_path / "other", "b", {"test": 30}, data=data, config={"data": {"repair": False}})
    groups = open_candidates([first, other], None)
    assert [group.data for group in groups] == ["vader_tweets data.repair=True", "vader_tweets data.repair=False"]
    write_artifact(tmp_path / "untested", "d", {"val": 30})
    with pytest.raises(ArtifactError, match="'untested' was not evaluated on test, but others were"):
        compared([first, tmp_path / "untested"])
    fewer = Examples(EXAMPLES.row_id[:-1], EXAMPLES.text[:-1], EXAMPLES.label[:-1], EXAMPLES.date[:-1])
    write_artifact(tmp_path / "fewer", "e", {"test": 30}, examples=fewer)
    with pytest.raises(ArtifactError, match=r"'first' and 'fewer' were evaluated on different test texts .*40 and 39"):
        compared([first, tmp_path / "fewer"])


def test_validation_is_what_is_compared_where_none_was_tested(tmp_path):
    folders = [write_artifact(tmp_path / name, name, {"val": count}) for name, count in (("a", 30), ("b", 31))]
    assert compared(folders).split == "val"
    with pytest.raises(ArtifactError, match="'a' was not evaluated on test"):
        compared(folders, split="test")


def test_the_front_is_what_no_other_beats(tmp_path):
    rows = compared(family(tmp_path)).rows
    assert [row.name for row in front(rows, "cost/mb", "test/accuracy", more_is_better=False)] == ["int8", "teacher"]
    assert [row.name for row in front(rows, "cost/texts_per_s", "test/accuracy", more_is_better=True)] == [
        "int8",
        "teacher",
    ]


def test_the_advice_is_the_fastest_that_is_right_enough_on_validation(tmp_path):
    comparison = compared(family(tmp_path / "a"))
    advice = advise(comparison, 0.0)
    assert advice.row.name == "int8"  # no drop on val, though there is one on test
    assert (advice.times_texts_per_s, advice.times_smaller) == (4.0, 4.0)


def test_a_single_row_needs_no_advice(tmp_path):
    assert advise(compared(family(tmp_path)[:1]), 0.01) is None


def test_a_terminal_of_80_columns_shows_drop_and_costs_and_names_the_rest(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    console().print(comparison_table(compared(family(tmp_path))))
    shown = capsys.readouterr().out
    assert "2.50 (0.00 to 7.50)" in shown and "another/base" not in shown
    assert "not shown for lack of width: " in shown and shown.endswith("; see comparison.csv\n")
    assert all(len(line) <= 80 for line in shown.splitlines()[:-1])


@pytest.mark.parametrize(
    "changes",
    [
        {"right": {"val": 36, "test": 35}},
        {"right": {"test": 35}, "cost": cost(10, 1, 1000)},
        {"right": {"val": 36, "test": 35}, "cost": cost(10, 1, 1000), "cpu": {"name": "another", "flags": []}},
    ],
    ids=["speed unknown", "not evaluated on val", "another machine"],
)
def test_there_is_no_advice_where_it_would_rest_on_nothing(tmp_path, changes):
    other = write_artifact(tmp_path / "other", "e", changes.pop("right"), settings={"other": 1}, **changes)
    comparison = compared([*family(tmp_path / "a"), other])
    assert advise(comparison, 0.01) is None
    assert ("| faster |" in markdown([comparison])) == ("cpu" not in changes)
    assert len(notes(comparison)) == 1


def test_students_count_as_their_teacher_s_descendants(tmp_path):
    teacher, _, student = family(tmp_path)
    assert compared([student, teacher]).baseline == "teacher"


def test_folded_rows_that_would_be_called_alike_have_all_their_names(tmp_path):
    folders = []
    for number, (seed, rate) in enumerate([(1, 0.1), (2, 0.1), (1, 0.2), (2, 0.2)]):
        place = tmp_path / str(number) / "teacher"
        folders.append(write_artifact(place, f"a{number}", {"test": 30 + number}, seed=seed, settings={"rate": rate}))
    comparison = compared(folders)
    assert [row.name for row in comparison.rows] == ["0/teacher+1/teacher", "2/teacher+3/teacher"]
    assert compared(folders, "2/teacher+3/teacher").base.seeds == [1, 2]
    assert compared(folders, "3/teacher").base is not comparison.base


def test_where_parents_lay_makes_no_other_run(tmp_path):
    folders = []
    for seed in (1, 2):
        config = {"seed": seed, "stage": {"artifact": f"outputs/{seed}/artifact", "resume": None}}
        place = tmp_path / str(seed) / "q"
        folders.append(write_artifact(place, f"a{seed}", {"test": 30 + seed}, seed=seed, config=config))
    assert [row.seeds for row in compared(folders).rows] == [[1, 2]]


def test_markdown_csv_and_the_terminal_say_the_same(tmp_path):
    comparison = compared(family(tmp_path))
    lines = list(csv.DictReader(io.StringIO(as_csv([comparison]))))
    assert [line["run"] for line in lines] == ["teacher", "int8", "student"]
    assert float(lines[1]["test/accuracy"]) == 34 / N and float(lines[1]["cost/mb"]) == 22.5
    assert (
        lines[1]["parent"].startswith("aaa")
        and lines[2]["parent"].startswith("aaa")
        and lines[0]["drop_from_parent"] == ""
    )
    for name in (
        "val/f1_weighted",
        "test/recall_macro",
        "cost/params_nonzero",
        "cost/latency_ms_p95",
        "label_only_gain",
    ):
        assert name in lines[0]
    text = markdown([comparison])
    assert "| int8 | quantize onnx_int8 |" in text and "4.00" in text
    assert [column.header for column in comparison_table(comparison).columns][:3] == ["run", "how", "accuracy"]


def test_each_data_set_has_its_table_and_its_baseline(tmp_path):
    data = make_record().data.model_copy(update={"fingerprint": "0" * 64, "source": "csv"})
    mine = [write_artifact(tmp_path / name, name, {"test": 30}, data=data) for name in ("mine", "yours")]
    groups = open_candidates([*family(tmp_path / "chain"), *mine], None)
    assert [(group.data, len(group.candidates)) for group in groups] == [("vader_tweets", 3), ("csv", 2)]
    assert [has_baseline(group, "yours") for group in groups] == [False, True]
    comparisons = [compare(group, baseline, seed=0) for group, baseline in zip(groups, (None, "yours"), strict=True)]
    lines = list(csv.DictReader(io.StringIO(as_csv(comparisons))))
    assert [(line["run"], line["data"], line["baseline"]) for line in lines][2:] == [
        ("student", "vader_tweets", "teacher"),
        ("mine", "csv", "yours"),
        ("yours", "csv", "yours"),
    ]
    text = markdown(comparisons)
    assert text.count("## ") == 2 and text.index("## vader_tweets") < text.index("| int8") < text.index("## csv")
    assert comparison_table(comparisons[1]).title == "csv: 40 test texts"


def test_speeds_of_another_machine_than_the_baseline_s_are_marked(tmp_path):
    speeds = {"cost": cost(10, 1, 1000)}
    folders = [
        write_artifact(tmp_path / "here", "a", {"test": 36}, **speeds),
        write_artifact(tmp_path / "there", "b", {"test": 36}, **speeds, cpu={"name": "another", "flags": []}),
        write_artifact(tmp_path / "gpu", "c", {"test": 36}, cost=cost(10, 1, 1000) | {"device": "cuda"}),
        write_artifact(tmp_path / "untimed", "d", {"test": 36}),
    ]
    comparison = compared(folders, baseline="here")
    shown = {column.heading: [column.shown(row) for row in comparison.rows] for column in columns(comparison)}
    assert shown["texts/s"] == ["1,000", "1,000 *", "1,000 *", ""]
    assert shown["ms"] == ["1.00", "1.00 *", "1.00 *", ""] and "faster" not in shown
    (line,) = notes(comparison)
    assert "(* marks another machine than that of here)" in line
    assert line.endswith(": a CPU (avx2), 2 threads; another, 2 threads; cuda of a CPU (avx2), 2 threads")


def test_speeds_of_a_gpu_stand_beside_those_of_the_cpu(tmp_path):
    gpu = {"latency_ms": {"p50": 0.5, "p95": 0.6}, "texts_per_s": 20_000.0, "device": "cuda"}
    folders = [
        write_artifact(tmp_path / "both", "a", {"test": 36}, cost=cost(10, 1, 1000) | {"gpu": gpu}),
        write_artifact(tmp_path / "int8", "b", {"test": 36}, cost=cost(10, 1, 3000)),
    ]
    comparison = compared(folders, baseline="both")
    shown = {column.heading: [column.shown(row) for row in comparison.rows] for column in columns(comparison)}
    assert shown["ms, GPU"] == ["0.50", ""] and shown["texts/s, GPU"] == ["20,000", ""]
    assert shown["texts/s"] == ["1,000", "3,000"] and shown["faster"][1].startswith("3.0")


def test_a_run_s_name_is_no_formula_and_no_markdown(tmp_path):
    write_artifact(tmp_path / "=1+1" / "artifact", "a", {"test": 30})
    write_artifact(tmp_path / "![x](http:h)" / "artifact", "b", {"test": 31}, settings={"other": 1})
    comparison = compared(sorted(tmp_path.glob("*/artifact")))
    lines = list(csv.DictReader(io.StringIO(as_csv([comparison]))))
    assert {line["run"] for line in lines} == {"'=1+1", "![x](http:h)"}
    assert {line["baseline"] for line in lines} <= {"'=1+1", "![x](http:h)"}
    assert float(lines[0]["drop_from_baseline"]) + float(lines[1]["drop_from_baseline"]) in (-1 / N, 1 / N)
    assert "![x]" not in markdown([comparison]) and "\\!\\[x\\](http:h)" in markdown([comparison])


def test_a_random_start_is_told(tmp_path):
    family(tmp_path)
    base = make_record().lineage[0].model_copy(update={"pretrained": False})
    fresh = write_artifact(tmp_path / "fresh", "f", {"test": 30}, pretrained=False, lineage=[base])
    text = markdown([compared([*sorted(tmp_path.glob("*/artifact")), fresh])])
    assert text.count("(NOT PRETRAINED)") == 1


def test_an_artifact_without_overrides_in_its_record_is_from_before_they_were_kept(tmp_path):
    assert Artifact.open(write_artifact(tmp_path / "a", "a", {"test": 30})).record.overrides is None


def test_what_a_student_learnt_from_sets_it_apart(tmp_path):
    """Files of texts without labels, and every one of several teachers."""
    two, others = ({name.ljust(12, "0"): {} for name in names} for names in ("ab", "ac"))
    told = [
        {"teachers": two, "texts": {"unlabeled": 0}},
        {"teachers": two, "texts": {"unlabeled": 0}},
        {"teachers": two, "texts": {"unlabeled": 9, "unlabeled_files": {"more.csv": "0"}}},
        {"teachers": others, "texts": {"unlabeled": 0}},
    ]
    folders = [
        write_artifact(tmp_path / f"s{seed}", f"d{seed}", {"test": 30}, seed=seed, stage="distill", training=training)
        for seed, training in enumerate(told)
    ]
    assert [row.seeds for row in compared(folders).rows] == [[0, 1], [2], [3]]


def test_a_copy_is_the_same_artifact_and_one_of_other_settings_is_not(tmp_path):
    config = {"data": {"repair": True}}
    folders = [
        write_artifact(tmp_path / "a", "a", {"test": 30}, config=config),
        write_artifact(tmp_path / "copy", "a", {"test": 30}, config=config),
        write_artifact(tmp_path / "b", "a", {"test": 30}, config=config | {"stage": {"tolerance": 0.1}}),
    ]
    assert [row.name for row in compared(folders).rows] == ["a", "b"]


def test_that_nobody_was_judged_is_told(tmp_path):
    folder = write_artifact(tmp_path / "a", "a", {"val": 30})
    with pytest.raises(ArtifactError, match="'a' was not evaluated on test, nor was any other"):
        compared([folder], split="test")


def test_random_weights_are_told_on_a_terminal_too(tmp_path):
    base = make_record().lineage[0].model_copy(update={"pretrained": False})
    random = write_artifact(tmp_path / "random", "f", {"test": 20}, pretrained=False, lineage=[base])
    told = [column.header for column in comparison_table(compared([*family(tmp_path / "a"), random])).columns]
    assert "model" in told
    assert "model" not in [column.header for column in comparison_table(compared(family(tmp_path / "b"))).columns]
