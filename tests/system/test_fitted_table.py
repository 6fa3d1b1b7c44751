"""Tables fit the console, and what has no room is named."""

import pytest

from chirplet.system.console import console
from chirplet.system.fitted_table import FittedTable

ROWS = [("teacher/stage.learning_rate=0.001", "-0.48 (-1.67 to 0.71)", "91.6"), ("int8", "0", "23.8")]


def lines(capsys, monkeypatch, width, optional=("MB", "drop from teacher")) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    table = FittedTable("a table", optional, "all.csv")
    for heading in ("run", "drop from teacher", "MB"):
        table.add_column(heading)
    for row in ROWS:
        table.add_row(*row, end_section=True)
    console().print(table)
    return capsys.readouterr().out.splitlines()


def cells(shown: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("│")] for line in shown if line.startswith("│")]


def test_with_room_it_is_as_wide_as_its_content(capsys, monkeypatch):
    shown = lines(capsys, monkeypatch, 200)
    assert cells(shown) == [list(row) for row in ROWS]
    assert max(map(len, shown)) == sum(map(len, ROWS[0])) + 10 == len(shown[1])


@pytest.mark.parametrize(
    ("width", "left_out", "kept"), [(67, "drop from teacher", (0, 2)), (42, "drop from teacher, MB", (0,))]
)
def test_what_has_no_room_is_left_out_and_named_and_the_most_important_stays(
    capsys, monkeypatch, width, left_out, kept
):
    shown = lines(capsys, monkeypatch, width)
    assert shown[-1] == f"not shown for lack of width: {left_out}; see all.csv"
    assert cells(shown) == [[row[index] for index in kept] for row in ROWS]
    assert max(map(len, shown[:-1])) <= width


def test_names_are_broken_where_they_have_a_sign(capsys, monkeypatch):
    shown = lines(capsys, monkeypatch, 24)
    assert [row[0] for row in cells(shown)] == ["teacher/stage.", "learning_rate=0.001", "int8"]
    assert max(map(len, shown[:-1])) <= 24


def test_headings_wrap_between_words_where_they_must(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    table = FittedTable("a table")
    table.add_column("drop from label-only")
    table.add_row("0")
    console().print(table)
    assert [line.strip("┃ ") for line in capsys.readouterr().out.splitlines()[2:4]] == ["drop from", "label-only"]
    monkeypatch.setenv("COLUMNS", "24")
    console().print(table)
    assert "┃ drop from label-only ┃" in capsys.readouterr().out


def test_nothing_is_lost_on_the_narrowest_console(capsys, monkeypatch):
    shown = cells(lines(capsys, monkeypatch, 16, optional=()))
    assert "".join(row[0] for row in shown) == ROWS[0][0] + ROWS[1][0]


def test_control_characters_are_measured_as_they_are_shown(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    table = FittedTable("\x1b[2J")
    table.add_column("name")
    table.add_row("\x1b[2J" * 3)
    console().print(table)
    widths = {len(line) for line in capsys.readouterr().out.splitlines()[1:]}
    assert widths == {len(r"\x1b[2J" * 3) + 4}
