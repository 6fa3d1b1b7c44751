"""The page opens anywhere, and texts cannot do anything on it."""

import numpy as np
import pytest

from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.data.preparation.exploration import Exploration, explore
from chirplet.report.exploration import histogram_shares, page, tables
from chirplet.system.console import console
from pages import Reader

HOSTILE = "<script>alert(1)</script>"


def corpus(dated: bool = True) -> Corpus:
    def examples(split: str) -> Examples:
        texts = [f'{HOSTILE} #tag @user "{split}"', "a $1 and $2 text", "<img src=x onerror=alert(2)>"]
        dates = ["2020-03-01", "2020-03-04", None] if dated else [None] * 3
        return Examples([f"{split}:{i}" for i in range(3)], texts, np.array([0, 1, 1]), dates)

    report = DataReport(
        repaired={HOSTILE: 1},
        repaired_cells=1,
        found={"duplicate": 2, "leak_test": 1},
        dropped={"leak_test": 1},
        examples={"duplicate": [HOSTILE]},
    )
    labels = (f"{HOSTILE} & $x$", "good [red]")
    return Corpus(HOSTILE, labels, examples("train"), examples("val"), examples("test"), "ab" * 32, report)


def seen(dated: bool = True) -> Exploration:
    lengths = np.array([5, 40, 7])
    unknown = {"train": 0.125, "val": 0.0, "test": 0.0}
    return explore(corpus(dated), {"train": lengths, "val": lengths, "test": lengths}, unknown, 32, 5, 2)


@pytest.fixture
def reader() -> Reader:
    parsed = Reader()
    parsed.feed(page(seen(), HOSTILE, "none"))
    assert parsed.open == []
    return parsed


def test_hostile_text_is_shown_and_never_run(reader):
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "img", "iframe", "link", "object", "a"}
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    for shown in (HOSTILE, "<img src=x onerror=alert(2)>", f"{HOSTILE} & $x$", "a $1 and $2 text"):
        assert shown in reader.text


def test_the_page_asks_for_nothing_from_outside(reader):
    for _, attributes in reader.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), attributes
    assert "@import" not in reader.text
    assert reader.text.count("url(") == reader.text.count("url(#")


def test_every_figure_has_a_caption_and_words_for_who_does_not_see_it(reader):
    figures = [attributes for tag, attributes in reader.tags if tag == "svg"]
    assert len(figures) == 4
    assert sum(tag == "figcaption" for tag, _ in reader.tags) == 4
    for attributes in figures:
        assert attributes["role"] == "img"
        assert attributes["aria-label"] and "width" not in attributes and "viewbox" in attributes
    assert "max_length" in reader.text
    assert any("Medians: train 7, val 7, test 7" in (attributes["aria-label"] or "") for attributes in figures)


def test_ids_are_unique(reader):
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert ids and len(ids) == len(set(ids))


def test_light_dark_phone_and_paper(reader):
    text = page(seen(), "m", "none")
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in reader.tags
    assert "var(--series-1)" in text and "#040404" not in text


def test_without_dates_there_is_no_figure_of_days():
    text = page(seen(dated=False), "m", "none")
    assert text.count("<svg") == 3 and "<h2>Days" not in text


def test_the_same_corpus_makes_the_same_page():
    assert page(seen(), "m", "none") == page(seen(), "m", "none")


def test_the_last_bin_takes_all_that_is_longer():
    shares = histogram_shares(np.array([0, 1, 2, 3, 1000]), np.array([0.0, 2.0, 4.0]))
    assert shares.tolist() == [0.4, 0.6]


def test_tables_say_what_was_found(capsys):
    out = console()
    for table in tables(seen()):
        out.print(table)
    told = capsys.readouterr().out
    assert "good [red]" in told, "markup is off"
    assert "1 (33.3%)" in told and "2 (66.7%)" in told
    assert "train text also in test" in told and "33.33%" in told
    assert "#tag" in told and "@user" in told
