"""Which words carried a label."""

import httpx
import pytest

from checkpoints import tiny_bert
from chirplet.server.words import MOST_WORDS, Word, without, words_of
from serving import LIMITS, decided_artifact, open_model, serving


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("what a lovely day", ["what", "a", "lovely", "day"]),
        ("Great!!! (really)", ["Great", "!!!", "(", "really", ")"]),
        (
            "@user don't miss #covid19 https://t.co/a-b?c=1",
            ["@user", "don't", "miss", "#covid19", "https://t.co/a-b?c=1"],
        ),
        ("good😀👩\u200d🚀 ❤\ufe0f", ["good", "😀👩\u200d🚀", "❤\ufe0f"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שלום, עולם", ["שלום", ",", "עולם"]),
        ("我很高兴。", ["我", "很", "高", "兴", "。"]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_words_are_without_the_signs_around_them(text, words):
    found = words_of(text)
    assert [word.text for word in found] == words
    assert all(text[word.start : word.end] == word.text for word in found)


@pytest.mark.parametrize(
    ("text", "without_each"),
    [
        ("a bc d", ["bc d", "a d", "a bc"]),
        ("so, well", [", well", "so well", "so,"]),
        ("one", [""]),
    ],
)
def test_a_text_without_a_word_has_no_more_spaces_than_before(text, without_each):
    assert [without(text, word) for word in words_of(text)] == without_each


def test_only_the_word_itself_goes():
    assert without("no no no", Word("no", 3, 5)) == "no no"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("words")
    return decided_artifact(tiny_bert(place / "base"), place / "artifact")


@pytest.fixture(scope="module")
def ask(folder):
    with serving({"tiny": folder}) as url, httpx.Client(base_url=url) as client:
        yield lambda **body: client.post("/v1/words", json=body)


def test_the_effect_is_the_probability_that_the_label_loses(ask, folder):
    predictor = open_model(folder).predictor
    answer = ask(text="great day, so sad", label="Neutral").json()
    variants = [
        "great day, so sad",
        "day, so sad",
        "great , so sad",
        "great day so sad",
        "great day, sad",
        "great day, so",
    ]
    before, *after = predictor.probabilities(variants)[:, 1]
    assert [word["text"] for word in answer["words"]] == ["great", "day", ",", "so", "sad"]
    assert [word["effect"] for word in answer["words"]] == pytest.approx([before - each for each in after], abs=1e-4)
    assert max(abs(word["effect"]) for word in answer["words"]) > 0.05
    assert (answer["model"], answer["label"]) == ("tiny", "Neutral")


def test_without_a_label_it_is_that_of_the_model(ask, folder):
    text = "great day, so sad"
    assert ask(text=text).json()["label"] == open_model(folder).predictor(text).labels[0]


def test_a_text_without_words_has_no_effects(ask):
    assert ask(text=" ").json()["words"] == []


def test_what_cannot_be_answered_is_refused_in_one_line(ask):
    most = min(MOST_WORDS, LIMITS.max_texts - 1)
    refused = {
        "text: got 100 words, should be at most " + str(most): ({"text": "a " * 100}, 413),
        "label: got 'joy', should be one of": ({"text": "a", "label": "joy"}, 422),
        "model: got 'other', should be one of tiny": ({"text": "a", "model": "other"}, 404),
        "text: ": ({"text": 3}, 422),
    }
    for message, (body, status) in refused.items():
        answer = ask(**body)
        assert answer.status_code == status
        assert message in answer.json()["error"]
