import numpy as np
import pytest

from chirplet.data.base import Examples
from chirplet.data.preparation.deduplicate import flaws, leaks, text_key, texts


def tweets(*rows: tuple[str, int]) -> Examples:
    labels = np.array([label for _, label in rows], np.int64)
    return Examples(
        [f"t:{place}" for place in range(len(rows))], [text for text, _ in rows], labels, [None] * len(rows)
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Stay  home\n", "stay home", True),
        ("news https://t.co/a", "News http://x.y/b", True),
        ("https://t.co/a", "https://t.co/b", False),
        ("stay home!", "stay home", False),
        ("@a stay", "@b stay", False),
    ],
)
def test_text_key(one: str, other: str, same: bool) -> None:
    assert (text_key(one) == text_key(other)) is same


def test_flaws() -> None:
    found = flaws(tweets(("a", 0), (" ", 0), ("A", 0), ("b", 0), ("b", 1), ("", 1), ("c", 1), ("b", 0)))
    assert np.flatnonzero(found["blank"]).tolist() == [1, 5]
    assert np.flatnonzero(found["duplicate"]).tolist() == [2, 4, 7]
    assert np.flatnonzero(found["conflict"]).tolist() == [3, 4, 7]
    assert texts(tweets(("b", 0), ("B", 1)), np.array([True, True])) == 1


def test_leaks_leave_blanks_alone() -> None:
    assert leaks(tweets(("a", 0), ("", 0), ("b", 1)), tweets(("A", 1), (" ", 0))).tolist() == [True, False, False]
