"""The page of a comparison: it opens anywhere, sorts, and nothing in it can do anything."""

import base64
import hashlib
import re

import numpy as np
import pytest

from chirplet.report.candidates import open_candidates
from chirplet.report.comparison import advise, compare
from chirplet.report.comparison_page import SCRIPT, Section, Texts, _cost_figures, page
from comparisons import EXAMPLES, TEXTS, N, cost, family, write_artifact
from pages import Reader, browser_dom
from records import make_record

HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(2)>"
COUNTS = np.arange(N)


@pytest.fixture
def html(tmp_path) -> str:
    return made(family(tmp_path), Texts([*TEXTS[:30], HOSTILE, *TEXTS[31:]], COUNTS))


def made(folders, texts=None) -> str:
    comparisons = [compare(group, None, seed=0) for group in open_candidates(folders, None)]
    return page([Section(one, advise(one, 0.1), texts) for one in comparisons])


def read(html: str) -> Reader:
    parsed = Reader()
    parsed.feed(html)
    assert parsed.open == []
    return parsed


def test_it_says_what_to_take_and_why(html):
    assert "<b>int8</b>: 4.0 times the\nthroughput, 4.0 times smaller; its drop of accuracy on test is 2.50 (" in html


def test_an_artifact_of_an_unknown_stage_is_drawn_as_every_other(tmp_path):
    """Beside all stages that are known."""
    changes = {"cost": cost(10, 1, 1000), "settings": {"other": 1}}
    for stage in ("prune", "merge"):
        write_artifact(tmp_path / stage / "artifact", stage, {"test": 30, "val": 30}, stage=stage, **changes)
    folders = [*family(tmp_path), tmp_path / "prune" / "artifact", tmp_path / "merge" / "artifact"]
    comparison = compare(open_candidates(folders, None)[0], None, seed=0)
    for svg, _ in _cost_figures(comparison).values():
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        assert {"merge", "other", "pruned", "fine-tuned", "distilled", "quantized"} <= set(texts)


def test_each_data_set_has_its_section(tmp_path):
    data = make_record().data.model_copy(update={"fingerprint": "0" * 64, "source": "csv"})
    html = made([*family(tmp_path), write_artifact(tmp_path / "mine", "a", {"test": 30}, data=data)])
    read(html)
    assert "<title>2 data sets: 4 models compared</title>" in html
    assert html.index("<h1>vader_tweets: 3 models compared") < html.index("<h1>csv: one model")
    assert html.count('class="sortable"') == 2 and html.count("<script>") == 1


def test_everything_that_was_asked_for_is_there(html):
    reader = read(html)
    for told in (
        "All models",
        "Accuracy and cost",
        "Calibration",
        "Accuracy on parts of the split",
        "with hashtags",
        "without URLs",
        "0 to 15",
        "Where the models disagree",
        "chirplet seed=1",
        "all-MiniLM-L6-v2 → teacher → int8 (quantize onnx_int8)",
        "another/base → distilled from teacher → student (distill logits)",
        "17.50 (7.50 to ",
    ):
        assert told in reader.text, told


def test_every_figure_has_a_caption_and_words_for_who_does_not_see_it(html):
    reader = read(html)
    figures = [attributes for tag, attributes in reader.tags if tag == "svg"]
    assert len(figures) == 5 == sum(tag == "figcaption" for tag, _ in reader.tags)
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)
    assert any("int8 22.5, 85.0%" in (attributes["aria-label"] or "") for attributes in figures)
    tables = sum(tag == "table" for tag, _ in reader.tags)
    assert tables == sum(tag == "caption" for tag, _ in reader.tags) > 8


def test_only_its_own_script_may_run_and_nothing_is_fetched(html):
    reader = read(html)
    scripts = [attributes for tag, attributes in reader.tags if tag == "script"]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert scripts == [{}] and f"script-src 'sha256-{digest}'" in html
    assert f"<script>{SCRIPT}</script>" in html
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert not {tag for tag, _ in reader.tags} & {"img", "iframe", "link", "object", "a"}
    assert HOSTILE in reader.text
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_confusions_are_counted(html):
    cells = re.findall(r'<td style="--share: (\d+)%">(\d+)</td>', html)
    assert len(cells) == 3 * 9
    assert sum(int(count) for _, count in cells) == 3 * N


def test_without_texts_nothing_is_said_of_tweets(tmp_path):
    html = made(family(tmp_path))
    assert "Accuracy on parts of the split" not in html and "Where the models disagree" not in html
    assert "stage.texts=false" in html


def test_without_costs_there_is_no_advice_and_no_figure_of_them(tmp_path):
    folders = [write_artifact(tmp_path / name, name, {"test": count}) for name, count in (("a", 30), ("b", 31))]
    html = made(folders)
    assert "Accuracy and cost" not in html and 'class="answer"' not in html
    assert html.count("<svg") == 2


def test_a_handful_of_tweets_is_too_few_for_a_figure_of_calibration(tmp_path):
    few = EXAMPLES.take(np.arange(6))
    folders = [
        write_artifact(tmp_path / name, name, {"test": count}, examples=few) for name, count in (("a", 6), ("b", 5))
    ]
    assert "<h2>Calibration" not in made(folders)


def test_a_model_that_all_share_is_said_once_and_takes_no_column(tmp_path, html):
    assert '<button type="button">model' in html and "· base model" not in html
    folders = [write_artifact(tmp_path / name, name, {"test": 30}) for name in "xy"]
    shared = made(folders)
    assert (
        '<button type="button">model' not in shared and "· base model sentence-transformers/all-MiniLM-L6-v2" in shared
    )
    fresh = make_record().lineage[0].model_copy(update={"pretrained": False})
    unlearnt = [write_artifact(tmp_path / name, name, {"test": 30}, pretrained=False, lineage=[fresh]) for name in "zw"]
    assert made(unlearnt).count("(NOT PRETRAINED)") >= 2


def test_further_columns_are_named_and_shown_on_request(html):
    assert "Show also: drop from its parent; p; ECE; MB, compressed; " in html
    reader = read(html)
    hidden = [tag for tag, attributes in reader.tags if "further" in (attributes.get("class") or "").split()]
    assert hidden.count("input") == 1 and hidden.count("td") == 3 * hidden.count("th") > 0


def test_of_one_artifact_with_costs_there_is_no_figure_of_a_single_point(tmp_path):
    html = made([family(tmp_path)[0]])
    assert "<h1>vader_tweets: one model</h1>" in html
    assert "Accuracy against" not in html and 'class="answer"' not in html


def test_of_one_artifact_there_is_no_drop(tmp_path):
    assert "Drop of accuracy" not in made([write_artifact(tmp_path / "a", "a", {"test": 30})])


def test_a_real_browser_runs_the_script_and_complains_of_nothing(html, tmp_path):
    (tmp_path / "report.html").write_text(html)
    dom, complaints = browser_dom(tmp_path / "report.html")
    assert complaints == ""
    assert dom.count('class="ready"') == html.count('<button type="button">')


def test_a_real_browser_sorts(tmp_path):
    """A press sorts upwards, another one downwards; gaps come last both times."""
    rows = "".join(f'<tr><td data-value="{value}">{value}</td></tr>' for value in ("10", "", "9", "-1.5"))
    head = '<table class="sortable"><thead><tr><th><button>x</button></th></tr></thead>'
    press = "<script>document.querySelector('button').click();</script>"
    orders = []
    for presses in (1, 2):
        place = tmp_path / f"{presses}.html"
        place.write_text(f"{head}<tbody>{rows}</tbody></table><script>{SCRIPT}</script>{press * presses}")
        orders.append(re.findall(r'<td data-value="([^"]*)">', browser_dom(place)[0]))
    assert orders == [["-1.5", "9", "10", ""], ["10", "9", "-1.5", ""]]


def test_times_of_several_machines_are_in_no_figure(tmp_path):
    other = write_artifact(
        tmp_path / "other", "e", {"val": 36, "test": 35}, cost=cost(10, 1, 1000), cpu={"name": "another", "flags": []}
    )
    captions = read(made([*family(tmp_path / "a"), other])).text
    assert "Accuracy against million bytes" in captions
    assert "Accuracy against milliseconds" not in captions and "Accuracy against texts" not in captions


def test_all_teachers_are_named(tmp_path):
    teachers = {name.ljust(12, "0"): {} for name in ("aaa", "zzz")}
    base = make_record().lineage[0]
    student = write_artifact(
        tmp_path / "taught", "d", {"test": 30}, stage="distill", lineage=[base], training={"teachers": teachers}
    )
    assert "distilled from teacher, zzz000000000 → taught" in read(made([*family(tmp_path / "a"), student])).text
