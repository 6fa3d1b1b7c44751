"""Whatever takes long says how far it is, on standard error."""

import re
import time

import pytest

from chirplet.system import progress
from chirplet.system.progress import Progress, counted


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def told(monkeypatch, capsys):
    """Waits until the display, which starts at once, has written something, and returns it."""
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    monkeypatch.setattr(progress, "LINE_S", 1e6)

    def wait():
        while not (text := capsys.readouterr().err):
            time.sleep(0.001)
        return text

    return wait


@pytest.mark.parametrize(
    ("total", "done", "seconds", "told"),
    [
        (1000, 0, 61.0, "0:01:01 so far"),
        (1000, 250, 10.0, "250 of 1,000 rows  25 rows/s  0:00:30 left"),
        (4, 1, 20.0, "1 of 4 rows  20.0 s each  0:01:00 left"),
        (None, 12000, 10.0, "12,000 rows  1,200 rows/s"),
        (10, 12, 1.0, "12 of 10 rows  12 rows/s  0:00:00 left"),
    ],
)
def test_what_is_said_by_hand(total, done, seconds, told):
    clock = Clock()
    work = Progress("reading", total, "rows", clock)
    assert len(list(work(range(done)))) == done
    clock.now += seconds
    assert str(work) == told


def test_what_is_soon_done_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    progress.silence()
    with Progress("working") as work:
        assert list(work("ab")) == ["a", "b"] and work.done == 2
    assert capsys.readouterr() == ("", "")


def test_off_a_terminal_it_is_a_line_on_standard_error(told, capsys):
    with Progress("counting", 9) as work:
        next(work(range(9)))
        assert re.fullmatch(r"counting  0:\d\d:\d\d so far\n", told())
    assert capsys.readouterr() == ("", "")


def test_a_long_step_within_is_named_unless_the_outer_one_counts():
    with Progress("preparing"), Progress("inside", 3, "parts"):
        assert progress._shown().what == "inside"
        with Progress("deeper", 1):
            assert progress._shown().what == "inside"
        assert list(counted("ab", "letters", size=lambda _: 5)) == ["a", "b"]
    assert progress._open == []
    with Progress("labeling", 2), Progress("tokenizing", 2):
        assert progress._shown().what == "labeling"


def test_within_nothing_counting_shows_nothing():
    items = counted("ab", "letters")
    next(items)
    assert progress._open == []


def test_an_iteration_that_was_left_outlives_nothing():
    """The traceback of an error keeps its generators."""
    with pytest.raises(ZeroDivisionError) as caught, Progress("all"):
        for _ in counted("ab", "letters"):
            raise ZeroDivisionError
    assert progress._open == []
    with Progress("next"):
        assert progress._shown().what == "next"
    del caught


def test_on_a_terminal_it_is_a_bar(told, monkeypatch, capsys):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    with Progress("counting", 9):
        text = told()
    assert "counting" in text + capsys.readouterr().err
