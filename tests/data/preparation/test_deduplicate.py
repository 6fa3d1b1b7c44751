import numpy as np

from chirplet.data.base import Examples
from chirplet.data.preparation.deduplicate import flaws, leaks, texts
from chirplet.data.preparation.repaired_texts import text_key


def tweets(*rows: tuple[str, int]) -> Examples:
    labels = np.array([label for _, label in rows], np.int64)
    return Examples(
        [f"t:{place}" for place in range(len(rows))], [text for text, _ in rows], labels, [None] * len(rows)
    )


def keys(*sets: Examples) -> dict[str, str]:
    return {text: text_key(text) for examples in sets for text in examples.text}


def test_flaws() -> None:
    rows = tweets(("a", 0), (" ", 0), ("A", 0), ("b", 0), ("b", 1), ("", 1), ("c", 1), ("b", 0))
    found = flaws(rows, keys(rows))
    assert np.flatnonzero(found["blank"]).tolist() == [1, 5]
    assert np.flatnonzero(found["duplicate"]).tolist() == [2, 4, 7]
    assert np.flatnonzero(found["conflict"]).tolist() == [3, 4, 7]
    same = tweets(("b", 0), ("B", 1))
    assert texts(same, np.array([True, True]), keys(same)) == 1


def test_a_set_without_texts_has_no_flaws() -> None:
    assert {reason: len(mask) for reason, mask in flaws(tweets(), {}).items()} == {
        "blank": 0,
        "duplicate": 0,
        "conflict": 0,
    }


def test_leaks_leave_blanks_alone() -> None:
    train, test = tweets(("a", 0), ("", 0), ("b", 1)), tweets(("A", 1), (" ", 0))
    assert leaks(train, test, keys(train, test)).tolist() == [True, False, False]
