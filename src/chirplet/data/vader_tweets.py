"""The rated tweets that VADER was evaluated on."""

import logging
import math
import tempfile
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from chirplet.config.schema import existing_file
from chirplet.data.base import RawCorpus, RawExample, Source
from chirplet.data.preparation.fetch import archive_member, check_hash, fetch_sdist
from chirplet.data.table.text_io import read_lines
from chirplet.system.cache_files import locked_folder, write_atomically
from chirplet.system.error import DataError

PROJECT = "vaderSentiment"
VERSION = "3.3.2"
SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
NESTED = f"{PROJECT}-{VERSION}/additional_resources/hutto_ICWSM_2014.tar.gz"
NESTED_SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
TWEETS = "hutto_ICWSM_2014/tweets_GroundTruth.txt"
TWEETS_SHA256 = "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f"

LABELS: dict[int, tuple[str, ...]] = {
    3: ("Negative", "Neutral", "Positive"),
    5: ("Extremely Negative", "Negative", "Neutral", "Positive", "Extremely Positive"),
}
STANDARD_CUTS: dict[int, list[float]] = {3: [-0.5, 0.5], 5: [-2.0, -0.5, 0.5, 2.0]}

logger = logging.getLogger(__name__)


class VaderTweets(Source):
    """4,200 tweets with the mean of 20 people's ratings, from -4 (extremely negative) to 4 (extremely positive).

    Labels: Extremely Negative, Negative, Neutral, Positive, Extremely Positive; or Negative, Neutral, Positive. A
    rating that is exactly a cut belongs to the class above it.
    Licence: MIT, as the vaderSentiment package that holds it. It is fetched from the package index at first use.
    Source: Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text,
    ICWSM 2014, https://github.com/cjhutto/vaderSentiment.
    """

    paths: ClassVar[tuple[str, ...]] = ("sdist",)

    classes: Literal[3, 5]
    cuts: list[float] | None
    sdist: str | None

    @field_validator("sdist")
    @classmethod
    def _sdist_exists(cls, path: str | None) -> str | None:
        return path if path is None else existing_file(path, f"the archive {PROJECT}-{VERSION}.tar.gz")

    @model_validator(mode="after")
    def _cuts_make_classes(self) -> Self:
        cuts = self.cuts
        if cuts is None:
            return self
        if len(cuts) != self.classes - 1:
            raise ValueError(f"cuts: got {len(cuts)}, should be {self.classes - 1} for classes={self.classes}")
        if not all(map(math.isfinite, cuts)) or any(low >= high for low, high in pairwise(cuts)):
            raise ValueError(f"cuts: got {cuts}, should be finite and increasing")
        return self

    def files(self, cache_dir: Path) -> list[Path]:
        """The file of tweets in the cache, downloaded and unpacked on first use."""
        with locked_folder(cache_dir / self.name) as folder:
            tweets = folder / "tweets_GroundTruth.txt"
            if self.sdist is None and tweets.is_file():
                try:
                    check_hash(tweets.read_bytes(), TWEETS_SHA256, str(tweets))
                except DataError as error:
                    logger.warning("%s", error)
                    tweets.unlink()
                else:
                    return [tweets]
            if self.sdist is not None:
                sdist = Path(self.sdist).expanduser()
                content = _tweets_of(sdist.read_bytes(), str(sdist))
            else:
                with tempfile.TemporaryDirectory(dir=folder) as temporary:
                    sdist = fetch_sdist(PROJECT, VERSION, SDIST_SHA256, Path(temporary))
                    content = _tweets_of(sdist.read_bytes(), sdist.name)
            write_atomically(content, tweets)
            return [tweets]

    def read(self, files: list[Path]) -> RawCorpus:
        """One set; lines are number, mean rating and text, separated by tabs."""
        [path] = files
        labels = LABELS[self.classes]
        cuts = self.cuts or STANDARD_CUTS[self.classes]
        tweets = []
        for row, line in enumerate(read_lines(path), start=1):
            cells = line.split("\t")
            try:
                _, rating, text = cells
                label = labels[bisect_right(cuts, float(rating))]
            except ValueError:
                raise DataError(f"{path} row {row}: got {line[:60]!r}, should be number, rating, text") from None
            tweets.append(RawExample(f"{path.name}:{row}", text, label))
        return RawCorpus(labels, {"train": tweets})


def _tweets_of(sdist: bytes, name: str) -> bytes:
    nested = archive_member(sdist, SDIST_SHA256, NESTED, name)
    return check_hash(archive_member(nested, NESTED_SHA256, TWEETS, NESTED), TWEETS_SHA256, TWEETS)
