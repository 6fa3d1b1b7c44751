"""Figures are small, themed, and the same every time."""

import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest

from chirplet.report import plot

DAYS = np.arange("2020-03-01", "2020-03-04", dtype="datetime64[D]")
FIGURES = {
    "bars": lambda: plot.share_bars(
        ["a<b", "$x$ 日本"], {"train": [0.5, 0.5], "test": [1, 0]}, "share", 'say "hi" <b>'
    ),
    "histogram": lambda: plot.share_histogram(
        np.array([0.0, 1, 2]), {"train": np.array([0.5, 0.5])}, "tokens", "share", "alt", (1.0, "cut")
    ),
    "days": lambda: plot.time_series(DAYS, {"train": [1, 2, 3]}, "tweets", "alt"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_one_sound_themed_svg(name, recwarn):
    before = dict(matplotlib.rcParams)
    text = FIGURES[name]()
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and root.get("role") == "img" and root.get("aria-label")
    assert root.get("width") is None and root.get("viewBox")
    assert "var(--ink)" in text and "#0" not in text.replace("url(#", "")
    assert text == FIGURES[name]()
    assert dict(matplotlib.rcParams) == before, "no global state is left changed"
    assert not recwarn


def test_labels_are_text_as_they_were_written():
    root = ElementTree.fromstring(FIGURES["bars"]())
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"a<b", "$x$ 日本", "train", "test", "share"} <= texts
    assert root.get("aria-label") == 'say "hi" <b>'


def test_a_single_series_needs_no_legend():
    root = ElementTree.fromstring(FIGURES["days"]())
    assert "train" not in {element.text for element in root.iter()}
