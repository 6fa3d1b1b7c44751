"""What others wrote does nothing where it is shown, and reads as it was written."""

import csv
import io
import logging
import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table

from chirplet.system.console import console
from chirplet.system.escaping import TerminalFormatter, code_span, csv_cell, markdown, terminal

HOSTILE = "\x1b[2J\x1b]0;title\x07 \r \x9b31m \u202egnp \ud83d \x00 \x7f"
LIVE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TEXTS = st.text(
    st.one_of(st.sampled_from("\\`*_{}[]()<>#+-.!|~&$:/ \n\x1bab1"), st.characters(exclude_categories=["Cs"]))
)


def test_a_terminal_shows_control_characters_and_obeys_none():
    assert terminal("a\x1b[31mb\x9bc\u202ed") == r"a\x1b[31mb\x9bc\u202ed"
    assert terminal("é 😀 👩\u200d👩\ttab\nline") == "é 😀 👩\u200d👩\ttab\nline"
    terminal(HOSTILE).encode()


@pytest.mark.parametrize("stderr", [False, True])
def test_everything_that_is_printed_is_shown_so(stderr, capsys):
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row("plain")
    out = console(stderr)
    out.print(table)
    out.print(f"artifact  {HOSTILE}", highlight=False)
    told = capsys.readouterr()
    shown = told.err if stderr else told.out
    assert not LIVE.search(shown.replace("\n", "")) and shown.count(r"\x1b[2J") == 4
    widths = {len(line) for line in shown.splitlines() if line[:1] in "┏┃┡│└"}
    assert len(widths) == 1, "columns stay aligned"


def test_colours_of_its_own_are_still_there(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = console()
    out.file = io.StringIO()
    out.print("plain", style="red")
    assert "\x1b[31mplain" in out.file.getvalue()


def test_what_is_logged_is_shown_so():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "the file %s", (HOSTILE,), None)
    assert not LIVE.search(TerminalFormatter("%(message)s").format(record))


@given(TEXTS)
def test_markdown_reads_as_it_was_written_and_is_nothing_else(text):
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(f"x {markdown(text)} x")
    line = " ".join(terminal(text).split())
    assert html == f"<p>{html[3:-5]}</p>\n" and not re.search("<", html[3:-5])
    assert unescape(html[3:-5]) == (f"x {line} x" if line else "x  x")


@given(TEXTS)
def test_a_code_span_reads_as_it_was_written(text):
    line = " ".join(terminal(text).split())
    html = MarkdownIt("commonmark").render(f"x {code_span(text)} x")
    if line:
        assert unescape(html) == f"<p>x <code>{line}</code> x</p>\n"


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", '=HYPERLINK("x")', "-"]
)
def test_a_formula_is_text(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1", "+1", "-0.5e-3", "a=b", "", " =1", "'=1", "positive", -0.5, 3, None, "1-2"])
def test_all_else_is_as_it_was(value):
    assert csv_cell(value) is value


def test_a_cell_is_read_back_with_its_apostrophe():
    target = io.StringIO()
    csv.writer(target).writerow([csv_cell('=A1,"x"')])
    assert next(csv.reader(io.StringIO(target.getvalue()))) == ['\'=A1,"x"']
