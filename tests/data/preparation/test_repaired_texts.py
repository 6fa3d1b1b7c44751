"""Texts come repaired, in order, with their keys, from one process or several."""

import pytest

from chirplet.data.preparation import repaired_texts as module
from chirplet.data.preparation.repaired_texts import CHUNK, repaired_texts, text_key

TEXTS = ["plain", "itâ\x80\x99s https://t.co/x", "R&amp;B\r\n", "sÃ£o 😀", ""]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Stay  home\n", "stay home", True),
        ("news https://t.co/a", "News http://x.y/b", True),
        ("https://t.co/a", "https://t.co/b", False),
        ("see (HTTPS://t.co/a), now", "see (www.b.c), now", True),
        ("stay home!", "stay home", False),
        ("@a stay", "@b stay", False),
    ],
)
def test_text_key(one: str, other: str, same: bool) -> None:
    assert (text_key(one) == text_key(other)) is same


@pytest.mark.parametrize("enabled", [True, False])
def test_a_text_comes_with_its_repairs_and_its_key(enabled: bool) -> None:
    repaired = list(repaired_texts(TEXTS, enabled))
    assert [text for text, _, _ in repaired] == (
        ["plain", "it’s https://t.co/x", "R&B\n", "são 😀", ""] if enabled else TEXTS
    )
    assert [len(kinds) for _, kinds, _ in repaired] == ([0, 1, 2, 1, 0] if enabled else [0] * 5)
    assert [key for _, _, key in repaired] == [text_key(text) for text, _, _ in repaired]


def test_two_processes_give_the_same_in_the_same_order() -> None:
    texts = [f"{number} {TEXTS[number % 5]}" for number in range(2 * CHUNK + 3)]
    assert list(repaired_texts(texts, True, processes=2)) == list(repaired_texts(texts, True, processes=1))


def test_few_texts_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chirplet.system.hardware.cpu_cores", lambda: 8)
    monkeypatch.setattr("chirplet.system.hardware.cpu_threads", lambda wanted: 3)
    assert [module._processes(count * module.CHARACTERS) for count in (0, 1, 2, 3, 9)] == [1, 1, 2, 3, 3]
