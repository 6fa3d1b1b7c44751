"""The page at `/` in a real browser."""

import json
import re
import shutil
from contextlib import ExitStack
from threading import Event, Thread

import httpx
import pytest

from checkpoints import TEXTS, tiny_bert, tiny_roberta
from chirplet.artifact.artifact import RECORD, write_record
from chirplet.server.answers import OpenModel
from pages import chromium
from records import LABELS, make_record
from serving import decided_artifact, open_model, serving

WHY = "browser tests need Playwright and axe: pip install -e '.[dev]'"
sync_api = pytest.importorskip("playwright.sync_api", reason=WHY)
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=WHY)
expect = sync_api.expect

PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "reduced_motion": "reduce"}
HOSTILE = """---
language: en
---

# A card of \\*stars\\* & `code`

<img src="https://elsewhere.test/x.png" onerror="document.title = 'mine'"> and <script>document.title = 'mine'</script>
[click](javascript:document.title='mine') and [a page](https://elsewhere.test/page).

| label | &lt;b&gt; |
|---|---:|
| a\\|b | 1 |

- **bold** item
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    made = {
        "bert": decided_artifact(tiny_bert(place / "bert_base"), place / "bert"),
        "roberta/v2": decided_artifact(tiny_roberta(place / "roberta_base"), place / "roberta"),
    }
    (made["roberta/v2"] / "README.md").write_text(HOSTILE, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def url(folders):
    with serving(folders) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    program = chromium()
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Opens an address, with options of the browser; fails if the page breaks, or asks another server."""
    contexts, faults = [], []

    def opened(address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if "Policy" in message.text else None)
        page.on("request", lambda sent: None if sent.url.startswith((address, "blob:")) else faults.append(sent.url))
        page.goto(address)
        return page

    expect.set_options(timeout=20_000)
    yield opened
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(open_page, url):
    return open_page(url)


def violations(page):
    """What axe-core finds, at any level."""
    return [
        (found["id"], [node["html"] for node in found["nodes"]]) for found in axe.Axe().run(page).response["violations"]
    ]


def rows(page):
    return page.locator("#results tbody tr")


def shown_labels(page):
    """The labels of each row that is shown, one for each model."""
    return [row.locator("td .label strong").all_inner_texts() for row in rows(page).all() if row.is_visible()]


def type_texts(page, texts, models=2):
    page.get_by_label("Type or paste texts").fill("\n".join(texts))
    expect(rows(page)).to_have_count(len(texts))
    expect(page.locator("#results td .bars")).to_have_count(models * len(texts))


def test_each_model_says_what_it_says_in_python(page, folders):
    texts = TEXTS[:3]
    type_texts(page, texts)
    expect(page.locator("#status")).to_contain_text("3 texts · 2 models")
    for column, folder in enumerate(folders.values()):
        prediction = open_model(folder).predictor(texts)
        for row, label, probabilities in zip(
            rows(page).all(), prediction.labels, prediction.probabilities, strict=True
        ):
            cell = row.locator("td").nth(column)
            assert cell.locator(".label strong").inner_text() == label
            items = cell.locator(".bars li")
            assert [item.locator("bdi").inner_text() for item in items.all()] == LABELS
            assert items.nth(LABELS.index(label)).get_attribute("class") == "chosen"
            for item, share in zip(items.all(), probabilities, strict=True):
                assert float(re.sub("[<>%]", "", item.locator(".share").inner_text())) == pytest.approx(
                    100 * share, abs=1
                )
                track, fill = (item.locator(part).bounding_box()["width"] for part in (".track", ".fill"))
                assert fill == pytest.approx(max(track * share, 1), abs=1.5)
    expect(page.get_by_role("columnheader", name="bert").first).to_contain_text(re.compile(r"3 texts in [\d.,]+ ms"))


def test_only_what_is_new_is_asked(page):
    asked = []
    page.on("request", lambda sent: asked.append(json.loads(sent.post_data)) if sent.url.endswith("classify") else None)
    page.get_by_label("Type or paste texts").press_sequentially("one\n\ntwo")
    expect(page.locator("#results td .bars")).to_have_count(4)
    asked.clear()
    page.keyboard.type(" more")
    expect(page.get_by_text("two more", exact=True).first).to_be_visible()
    expect(page.locator("#results td .bars")).to_have_count(4)
    assert {text for body in asked for text in body["texts"]} <= {"two", "two m", "two mo", "two mor", "two more"}
    assert sorted({body["model"] for body in asked}) == ["bert", "roberta/v2"]


def test_rows_where_models_part_ways_are_marked_and_can_be_seen_alone(page):
    type_texts(page, TEXTS[:8])
    differing = [len(set(labels)) > 1 for labels in shown_labels(page)]
    assert 0 < sum(differing) < 8
    assert [row.get_by_text("Models differ").is_visible() for row in rows(page).all()] == differing
    expect(page.locator("#status")).to_contain_text(f"models differ on {sum(differing)} text")
    page.get_by_label("Only where models differ").check()
    assert [len(set(labels)) > 1 for labels in shown_labels(page)] == [True] * sum(differing)


def test_words_are_shown_by_keyboard_alone(page, url):
    text = "😀 a great day, שלום"
    expect(page.get_by_label("Type or paste texts")).to_be_focused()
    page.keyboard.type(text)
    expect(page.locator("#results td .bars")).to_have_count(2)
    button = page.get_by_role("button", name="Words", exact=True)
    for _ in range(12):
        page.keyboard.press("Tab")
        if button.evaluate("node => node === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(page.locator("td .marked")).to_have_text([text, text])
    for cell, model in zip(page.locator("td").all(), ("bert", "roberta/v2"), strict=True):
        label = cell.locator(".label strong").inner_text()
        answer = httpx.post(f"{url}/v1/words", json={"text": text, "model": model, "label": label}).json()
        best = max(answer["words"], key=lambda word: abs(word["effect"]))
        sign = "+" if best["effect"] > 0 else "−"
        expect(cell.locator(".words li").first).to_have_text(f"{best['text']} {sign}{round(100 * abs(best['effect']))}")
        kind = "for" if best["effect"] > 0 else "against"
        assert best["text"] in cell.locator(f"mark.{kind}").all_inner_texts()
    page.keyboard.press("Space")
    expect(page.locator("td .marked")).to_have_count(0)


def test_fifty_texts_are_shown_and_further_ones_are_not(open_page, url):
    page = open_page(url, **PHONE)
    page.get_by_label("Type or paste texts").fill("\n".join(f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(53)))
    expect(page.locator("#results td .bars")).to_have_count(100)
    expect(page.get_by_text("53 texts, should be at most 50")).to_be_visible()
    assert rows(page).count() == 50
    assert violations(page) == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(open_page, url, width):
    page = open_page(url, viewport={"width": width, "height": 800})
    type_texts(page, ["w" * 300, "שלום " * 20, "a"])
    page.get_by_text("Label a CSV file").click()
    rows(page).first.get_by_role("button", name="Words").click()
    expect(page.locator("td .marked")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing(open_page, url, options):
    page = open_page(url, **options)
    expect(page.get_by_label("Type or paste texts")).to_be_focused()
    assert violations(page) == []
    type_texts(page, TEXTS[:8])
    page.get_by_text("Label a CSV file").click()
    rows(page).first.get_by_role("button", name="Words").click()
    expect(page.locator("td .marked")).to_have_count(2)
    assert violations(page) == []
    page.get_by_role("button", name="Card of roberta/v2").click()
    expect(page.get_by_role("heading", name="A card of")).to_be_visible()
    assert violations(page) == []


def test_a_card_is_read_and_does_nothing_else(page):
    button = page.get_by_role("button", name="Card of roberta/v2")
    button.press("Enter")
    card = page.get_by_role("dialog", name="Card of roberta/v2")
    expect(card.get_by_role("heading", name="A card of *stars* & code")).to_be_visible()
    expect(card.get_by_text("<img src=")).to_be_visible()
    expect(card.get_by_role("cell")).to_have_text(["1"])
    expect(card.get_by_role("columnheader", name="<b>")).to_be_visible()
    expect(card.get_by_text("a|b", exact=True)).to_be_visible()
    assert card.locator("img, script").count() == 0
    assert card.get_by_role("link").evaluate_all("links => links.map(link => link.href)") == [
        "https://elsewhere.test/page"
    ]
    assert page.title() == "chirplet: try the models"
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(button).to_be_focused()


def test_a_file_comes_back_labeled(page, url):
    content = b'id;tweet;label\n1;"so; good";x\n2;awful;y\n'
    page.get_by_text("Label a CSV file").click()
    page.get_by_label("File", exact=True).set_input_files({"name": "t.csv", "mimeType": "text/csv", "buffer": content})
    page.get_by_label("Model", exact=True).select_option("roberta/v2")
    page.get_by_role("button", name="Label the file").click()
    expect(page.locator("#uploaded")).to_contain_text("set text_column to one of 'id', 'tweet', 'label'")
    page.get_by_label("Column of texts").fill("tweet")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Label the file").click()
    assert waiting.value.suggested_filename == "t_labeled.csv"
    query = {"model": "roberta/v2", "text_column": "tweet", "prefix": "predicted_"}
    assert waiting.value.path().read_bytes() == httpx.post(f"{url}/v1/table", content=content, params=query).content
    expect(page.locator("#uploaded")).to_contain_text("2 texts labeled: t_labeled.csv")


def test_a_text_that_is_too_long_is_refused_in_plain_words(page):
    page.get_by_label("Type or paste texts").fill("a " * 300)
    expect(page.get_by_role("alert")).to_contain_text("too large for the server")
    expect(page.get_by_role("alert")).to_contain_text("got 600 characters, should be at most 400")
    type_texts(page, ["short"])
    expect(page.get_by_role("alert")).to_be_empty()


class Failing(OpenModel):
    """A model that fails for one text, and for another computes until `go`."""

    begun, go = Event(), Event()

    def answers(self, texts):
        if "bad" in texts:
            raise RuntimeError("the model is broken")
        if "slow" in texts:
            self.begun.set()
            self.go.wait()
        return super().answers(texts)


def failing(folder):
    opened = open_model(folder)
    return Failing(opened.artifact, opened.predictor)


def test_a_failing_model_and_a_server_that_ends_are_said_in_plain_words(open_page, folders):
    with ExitStack() as stack:
        address = stack.enter_context(serving({"one": folders["bert"]}, opening=failing, drain_s=0))
        page = open_page(address)
        page.get_by_label("Type or paste texts").fill("bad")
        problem = page.get_by_role("alert")
        expect(problem).to_contain_text("The server failed (500). It says: the model failed with these texts")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        type_texts(page, ["good"], models=1)
        expect(problem).to_be_empty()

        page.get_by_label("Type or paste texts").fill("slow")
        Failing.begun.wait()
        ending = Thread(target=stack.pop_all().close)
        ending.start()
        try:
            problem.filter(has_text="The server is not ready. The page tries again in 1 second.").wait_for()
            expect(problem).to_contain_text("The server does not answer.")
        finally:
            Failing.go.set()
            ending.join()


def test_a_busy_server_is_asked_again(page):
    busy = iter([True])

    def answer(route):
        if next(busy, False):
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "full"})
        else:
            route.continue_()

    page.route("**/v1/classify", answer)
    page.get_by_label("Type or paste texts").fill("one")
    expect(page.get_by_role("alert")).to_have_text("bert: The server is busy. The page tries again in 1 second.")
    expect(page.locator("#results td .bars")).to_have_count(2)
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_token_is_asked_for_and_a_replaced_model_or_a_lost_server_noticed(open_page, folders, tmp_path):
    folder = tmp_path / "served"
    shutil.copytree(folders["bert"], folder)
    with serving({"one": folder}, token="secret") as address:
        page = open_page(address)
        expect(page.get_by_role("alert")).to_have_text("The server asks for a token.")
        field = page.get_by_label("Token of this server")
        expect(field).to_be_focused()
        assert violations(page) == []
        for token, sentence in (("wrong", "The server does not accept this token."), ("secret", "")):
            field.fill(token)
            field.press("Enter")
            expect(page.get_by_role("alert")).to_have_text(sentence)
        type_texts(page, ["one"], models=1)
        assert not page.get_by_label("Only where models differ").is_visible()

        (folder / RECORD).unlink()
        write_record(folder, make_record(id="f" * 64, cost={"params_total": 1_234_567}))
        httpx.post(f"{address}/models/one/reload", headers={"Authorization": "Bearer secret"}).raise_for_status()
        type_texts(page, ["one", "two"], models=1)
        expect(page.get_by_role("columnheader", name="one")).to_contain_text("1.23M parameters")
    page.get_by_label("Type or paste texts").fill("three")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_the_files_of_the_page_are_allowed_no_more_than_they_need(url):
    answer = httpx.get(url)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "<style" not in answer.text and not re.search(r"<script(?![^>]*src)| on\w+=| style=", answer.text)
    linked = re.findall(r'(?:src|href)="(page/[^"]+)"', answer.text)
    assert {httpx.get(f"{url}/{name}").status_code for name in linked} == {200}
    for name in ("..%2Fapp.py", "app.py", "nothing.js"):
        assert httpx.get(f"{url}/page/{name}").status_code == 404
    assert httpx.get(f"{url}/models/nobody/card").status_code == 404
    assert httpx.get(f"{url}/models/bert/card").json()["error"] == "the artifact of bert has no README.md"
