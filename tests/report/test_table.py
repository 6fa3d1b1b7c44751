"""Tables from records."""

import io

import pytest

from chirplet.report.table import METRICS, metrics_table, per_class_table
from chirplet.system.console import PIPE_WIDTH, RULE_WIDTH, console
from records import make_record


def shown(table, capsys) -> list[list[str]]:
    console().print(table)
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]


def test_metrics_by_split(capsys):
    rows = shown(metrics_table(make_record()), capsys)
    assert rows[0] == ["finetune (full) on vader_tweets"]
    assert ["metric", "train", "val", "test"] in rows
    assert ["texts", "4", "4", "4"] in rows
    # Of four texts, 4, 3 and 2 are right.
    assert ["accuracy", "1.0000", "0.7500", "0.5000"] in rows
    # val: F1 of the three classes is 2/3 (one of two predictions right), 1 and 2/3 (one of two texts found).
    assert ["F1, macro", "1.0000", "0.7778", "0.5000"] in rows
    assert {row[0] for row in rows} >= set(METRICS.values())


def test_only_splits_that_were_evaluated_have_a_column(capsys):
    metrics = {"val": make_record().metrics["val"]}
    assert ["metric", "val"] in shown(metrics_table(make_record(metrics=metrics)), capsys)


@pytest.mark.parametrize("make", [metrics_table, lambda record: per_class_table(record, "test")])
def test_random_weights_cannot_be_overlooked(make, capsys):
    assert "NOT PRETRAINED" in shown(make(make_record(pretrained=False)), capsys)[0][0]
    assert "PRETRAINED" not in shown(make(make_record()), capsys)[0][0]


def test_scores_by_class(capsys):
    rows = shown(per_class_table(make_record(), "test"), capsys)
    assert ["label", "texts", "f1", "precision", "recall"] in rows
    # test: Negative is right once, and said of both Extremely Positive texts too.
    assert ["Negative", "1", "0.5000", "0.3333", "1.0000"] in rows
    assert ["Extremely Positive", "2", "0.0000", "0.0000", "0.0000"] in rows


@pytest.mark.parametrize(("columns", "width"), [(None, PIPE_WIDTH), ("", PIPE_WIDTH), ("wide", PIPE_WIDTH), ("70", 70)])
def test_off_a_terminal_the_width_is_that_of_the_environment(monkeypatch, capsys, columns, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    out = console()
    out.heading("a step")
    assert out.width == width and len(capsys.readouterr().out.rstrip("\n")) == min(width, RULE_WIDTH)


def test_off_a_terminal_paths_stay_whole_and_colourless(capsys):
    path = "/a/" + "very/" * 60 + "long path [with] :smile: brackets"
    console().print(path)
    assert capsys.readouterr().out == path + "\n"


def test_no_color_is_respected_on_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = console()
    out.file = io.StringIO()
    out.print("plain", style="red")
    assert "31" not in out.file.getvalue()


def test_standard_error_on_request(capsys):
    console(stderr=True).print("told")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "told\n")
