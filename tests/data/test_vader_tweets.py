from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from chirplet.data.base import Source
from chirplet.data.preparation.prepare import prepare
from chirplet.system.error import ConfigError, DataError

Make = Callable[..., Source]


@pytest.mark.parametrize(
    ("classes", "cuts", "counts"),
    [
        (5, None, [304, 758, 793, 1624, 721]),
        (3, None, [1062, 793, 2345]),
        (3, [-0.5, 0.5], [1062, 793, 2345]),
    ],
)
def test_classes(make_source: Make, sdist: Path, tmp_path: Path, classes: int, cuts: object, counts: list[int]) -> None:
    source = make_source("vader_tweets", sdist=str(sdist), classes=classes, cuts=cuts)
    raw = source.read(source.files(tmp_path))
    found = Counter(tweet.label for tweet in raw.splits["train"])
    assert [found[label] for label in raw.labels] == counts


def test_first_and_last_tweet(make_source: Make, sdist: Path, tmp_path: Path) -> None:
    source = make_source("vader_tweets", sdist=str(sdist))
    tweets = source.read(source.files(tmp_path)).splits["train"]
    assert tweets[0].text.startswith("Somehow I was blessed")
    assert (tweets[0].row_id, tweets[0].label) == ("tweets_GroundTruth.txt:1", "Extremely Positive")
    assert tweets[-1].text == "Execute like lightning not like wind"


def test_a_rating_on_a_cut_is_of_the_class_above(make_source: Make, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("1\t-2.0\ta\r\n2\t2.0\tb\r\n3\t-2.01\tc")
    labels = [tweet.label for tweet in make_source("vader_tweets").read([path]).splits["train"]]
    assert labels == ["Negative", "Extremely Positive", "Extremely Negative"]
    path.write_text("1\tx\ta")
    with pytest.raises(DataError, match=r"t.txt row 1: got '1\\tx\\ta', should be number, rating, text"):
        make_source("vader_tweets").read([path])


@pytest.mark.parametrize("cuts", [[-1.0], [0.5, -0.5], [0.5, 0.5], [float("nan"), 1.0]])
def test_cuts_are_checked(make_source: Make, cuts: list[float]) -> None:
    with pytest.raises(ConfigError, match="cuts: got "):
        make_source("vader_tweets", classes=3, cuts=cuts)


def test_a_damaged_or_missing_archive(make_source: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.sdist: got '/no/where.tar.gz', which is no file"):
        make_source("vader_tweets", sdist="/no/where.tar.gz")
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(b"x")
    with pytest.raises(DataError, match=r"bad.tar.gz: got SHA-256 .*, should be 5d7c06e0"):
        prepare(make_source("vader_tweets", sdist=str(bad)), tmp_path)


def test_a_damaged_cache_is_fetched_again_a_sound_one_is_not(
    make_source: Make, sdist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def fetch(project: str, version: str, sha256: str, folder: Path) -> Path:
        fetched.append(project)
        return sdist

    monkeypatch.setattr("chirplet.data.vader_tweets.fetch_sdist", fetch)
    source = make_source("vader_tweets")
    [path] = source.files(tmp_path)
    assert source.files(tmp_path) == [path]
    assert len(fetched) == 1
    path.write_bytes(b"damaged")
    assert source.files(tmp_path) == [path]
    assert len(fetched) == 2
    assert path.stat().st_size == 389_886
