"""Figures are small, themed, and the same every time."""

import re
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
    "days": lambda: plot.time_series(DAYS, {"train": [1, 2, 3]}, "texts", "alt"),
    "points": lambda: plot.scatter({"one": [plot.Point("a<b", 1.0, 0.5, True)]}, [(1.0, 0.5)], "MB", "share", "alt"),
    "intervals": lambda: plot.intervals(["a<b"], [(0.0, -1.0, 1.0)], "points", "alt", mark=0.0),
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


POINTS = {
    "one": [plot.Point("a", 10.0, 0.5, True), plot.Point("b", 10.5, 0.5, True), plot.Point("c", 11.0, 0.5, False)],
    "two": [plot.Point("far", 1000.0, 0.9, True)],
}


def test_points_have_a_colour_and_a_shape_a_group_and_their_names():
    svg = plot.scatter(POINTS, [(10.0, 0.5), (1000.0, 0.9)], "MB", "accuracy", "Points.")
    assert svg.count("var(--series-1)") and svg.count("var(--series-2)") and "var(--series-3)" not in svg
    names = re.findall(r">(a|b|c|far)</text>", svg)
    assert sorted(names) == ["a", "b", "far"]
    assert ">1,000</text>" in svg and ">70%</text>" in svg


def test_a_name_for_which_there_is_no_room_is_left_out():
    crowd = {"one": [plot.Point(f"a long name {i}", 10.0 + i / 1000, 0.5, True) for i in range(20)]}
    svg = plot.scatter(crowd, [(10.0, 0.5)], "MB", "accuracy", "Points.")
    assert 0 < len(re.findall(r">a long name \d+</text>", svg)) < 20


def test_intervals_have_a_line_for_each_name_and_grow_with_them():
    few = plot.intervals(["a", "b"], [(0.1, -0.5, 0.7), (1.0, 0.5, 1.5)], "points", "Intervals.", mark=0.0)
    many = plot.intervals([f"n{i}" for i in range(30)], [(0.1, -0.5, 0.7)] * 30, "points", "Intervals.", mark=0.0)
    heights = [float(re.search(r'viewBox="0 0 \S+ (\S+)"', svg)[1]) for svg in (few, many)]
    assert heights[1] > 3 * heights[0]
    assert re.findall(r">(a|b)</text>", few) == ["a", "b"]
