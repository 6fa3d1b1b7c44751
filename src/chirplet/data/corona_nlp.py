"""The data set "Coronavirus tweets NLP" of Kaggle."""

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from chirplet.config.schema import existing_file
from chirplet.data.base import RawCorpus, RawExample, Source, Split
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.reader import read_table
from chirplet.system.error import DataError, first_line

DATASET = "datatattle/covid-19-nlp-text-classification"
FILES: dict[Split, str] = {"train": "Corona_NLP_train.csv", "test": "Corona_NLP_test.csv"}
LABELS = ("Extremely Negative", "Negative", "Neutral", "Positive", "Extremely Positive")


class CoronaNlp(Source):
    """41,157 train and 3,798 test tweets on COVID-19 of March and April 2020, with dates.

    Labels: Extremely Negative, Negative, Neutral, Positive, Extremely Positive.
    Licence: "Other" on Kaggle; the tweets belong to their authors. Not redistributed here: download the files and set
    `dir`, or install kagglehub (`pip install "chirplet[kaggle]"`), which downloads them.
    Source: Aman Miglani, Coronavirus tweets NLP - Text Classification, Kaggle 2020,
    https://www.kaggle.com/datasets/datatattle/covid-19-nlp-text-classification.
    """

    paths: ClassVar[tuple[str, ...]] = ("dir",)

    dir: str | None

    @field_validator("dir")
    @classmethod
    def _files_exist(cls, folder: str | None) -> str | None:
        if folder is not None:
            if not Path(folder).expanduser().is_dir():
                raise ValueError(f"got {folder!r}, should be a folder with {' and '.join(FILES.values())}")
            for name in FILES.values():
                existing_file(str(Path(folder) / name), f"one of the set's files {' and '.join(FILES.values())}")
        return folder

    def files(self, cache_dir: Path) -> list[Path]:
        """The two CSV files, from `dir` or through kagglehub, which caches them."""
        folder = _download() if self.dir is None else Path(self.dir).expanduser()
        return [folder / name for name in FILES.values()]

    def read(self, files: list[Path]) -> RawCorpus:
        """Train and test, read as latin-1, in which every byte is valid, and repaired later."""
        return RawCorpus(LABELS, {split: _read(file) for split, file in zip(FILES, files, strict=True)})


def _read(path: Path) -> list[RawExample]:
    tweets = []
    with read_table(path, ["OriginalTweet", "Sentiment", "TweetAt"], Dialect(encoding="latin-1")) as table:
        for row in table:
            label, date = row.cells["Sentiment"], row.cells["TweetAt"]
            if label not in LABELS:
                raise DataError(
                    f"{path} row {row.number}: Sentiment is {label!r}, should be one of {', '.join(LABELS)}"
                )
            try:
                day = _day(date)
            except ValueError:
                raise DataError(f"{path} row {row.number}: TweetAt is {date!r}, should be a date, DD-MM-YYYY") from None
            tweets.append(RawExample(f"{path.name}:{row.number}", row.cells["OriginalTweet"], label, day))
    return tweets


@cache  # of some dozens of days
def _day(date: str) -> str:
    return datetime.strptime(date, "%d-%m-%Y").date().isoformat()


def _download() -> Path:
    remedy = f"download {DATASET} from Kaggle and set data.dir=FOLDER"
    try:
        import kagglehub
    except ImportError:
        raise DataError(
            f'data.dir is null, which needs kagglehub: pip install "chirplet[kaggle]", or {remedy}'
        ) from None
    try:
        return Path(kagglehub.dataset_download(DATASET))
    except Exception as error:  # includes every class that kagglehub's HTTP client raises
        raise DataError(f"kagglehub cannot download {DATASET} ({first_line(error)}); {remedy}") from None
