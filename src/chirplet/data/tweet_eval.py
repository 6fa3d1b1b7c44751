"""The tasks of the TweetEval benchmark."""

import json
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from chirplet.data.base import SPLITS, RawCorpus, RawExample, Source, Split, row_names
from chirplet.data.table.reader import read_table
from chirplet.data.table.text_io import read_lines
from chirplet.system.error import DataError, first_line

Task = Literal[
    "emoji",
    "emotion",
    "hate",
    "irony",
    "offensive",
    "sentiment",
    "stance_abortion",
    "stance_atheism",
    "stance_climate",
    "stance_feminist",
    "stance_hillary",
]
HUB = "cardiffnlp/tweet_eval"
_HUB_SPLITS = ("train", "validation", "test")


class TweetEval(Source):
    """One of eleven English tweet classification tasks, with train, val and test.

    Labels: those of the task in its order, for example negative, neutral, positive, or anger, joy, optimism, sadness.
    Licence: the terms of each task's authors (see the repository's README); Twitter's terms apply to the tweets. Not
    redistributed here.
    Source: Barbieri, Camacho-Collados, Espinosa Anke and Neves, TweetEval: Unified Benchmark and Comparative
    Evaluation for Tweet Classification, Findings of EMNLP 2020, https://github.com/cardiffnlp/tweeteval.
    """

    paths: ClassVar[tuple[str, ...]] = ("dir",)

    task: Task
    dir: str | None
    revision: str

    @model_validator(mode="after")
    def _files_exist(self) -> Self:
        if self.dir is not None:
            missing = [file for file in _local_files(self.dir, self.task) if not file.is_file()]
            if missing:
                raise ValueError(
                    f"dir: got {self.dir!r}, which lacks {missing[0].name} for task={self.task}; should be the task's "
                    "folder or the TweetEval repository, with mapping.txt and {train,val,test}_{text,labels}.txt"
                )
        return self

    def files(self, cache_dir: Path) -> list[Path]:
        """The task's text files, or three Parquet files from the hub, which huggingface_hub caches."""
        if self.dir is not None:
            return _local_files(self.dir, self.task)
        return [_download(f"{self.task}/{split}-00000-of-00001.parquet", self.revision) for split in _HUB_SPLITS]

    def read(self, files: list[Path]) -> RawCorpus:
        """Train, val and test as the task defines them."""
        return _read_hub(files) if self.dir is None else _read_local(files)


def _local_files(directory: str, task: Task) -> list[Path]:
    """mapping.txt, then text and labels of train, val and test; the five stance tasks share one mapping."""
    root = Path(directory).expanduser()
    below = Path(*task.split("_"))
    candidates = [root / "datasets" / below, root / below, root]
    home = next((folder for folder in candidates if (folder / "train_text.txt").is_file()), root)
    mappings = [home / "mapping.txt", home.parent / "mapping.txt"] if len(below.parts) > 1 else [home / "mapping.txt"]
    mapping = next((file for file in mappings if file.is_file()), mappings[0])
    return [mapping, *(home / f"{split}_{kind}.txt" for split in SPLITS for kind in ("text", "labels"))]


def _read_local(files: list[Path]) -> RawCorpus:
    mapping, *parts = files
    names: dict[str, str] = {}
    for row, line in enumerate(read_lines(mapping), start=1):
        # The emoji task has a third column, the emoji's description.
        number, _, rest = line.partition("\t")
        name = rest.split("\t")[0].strip()
        if number != str(len(names)) or not name or name in names.values():
            raise DataError(f"{mapping} row {row}: got {line[:60]!r}, should be {len(names)}, a tab, and a new label")
        names[number] = name
    splits: dict[Split, list[RawExample]] = {}
    for split, text_file, label_file in zip(SPLITS, parts[::2], parts[1::2], strict=True):
        texts, labels = read_lines(text_file), read_lines(label_file)
        if len(texts) != len(labels):
            raise DataError(f"{text_file}: has {len(texts)} tweets, but {label_file.name} has {len(labels)} labels")
        wrong = next((row for row, label in enumerate(labels, start=1) if label.strip() not in names), None)
        if wrong is not None:
            got = labels[wrong - 1]
            raise DataError(f"{label_file} row {wrong}: got {got!r}, should be one of {', '.join(names)} (mapping.txt)")
        splits[split] = [
            RawExample(f"{text_file.name}:{row}", text, names[label.strip()])
            for row, (text, label) in enumerate(zip(texts, labels, strict=True), start=1)
        ]
    return RawCorpus(tuple(names.values()), splits)


def _read_hub(files: list[Path]) -> RawCorpus:
    names = _hub_labels(files[0])
    splits: dict[Split, list[RawExample]] = {}
    for split, file, prefix in zip(SPLITS, files, row_names(files), strict=True):
        with read_table(file, ["text", "label"]) as table:
            tweets = []
            for row in table:
                label = row.cells["label"]
                if label not in range(len(names)):
                    raise DataError(f"{file} row {row.number}: label is {label!r}, should be 0 to {len(names) - 1}")
                tweets.append(RawExample(f"{prefix}:{row.number}", row.cells["text"], names[label]))
        splits[split] = tweets
    return RawCorpus(names, splits)


def _hub_labels(file: Path) -> tuple[str, ...]:
    """The labels' names, from the file's metadata."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        metadata = parquet.read_schema(file).metadata or {}
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(features["label"]["names"])
    except (arrow.ArrowException, OSError, KeyError, ValueError, TypeError):
        raise DataError(f"{file}: does not name its labels; should be a file of {HUB}") from None


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(HUB, name, repo_type="dataset", revision=revision))
    except Exception as error:  # includes every class that the HTTP client raises
        raise DataError(
            f"cannot download {name} of {HUB} from the hub ({first_line(error)}); "
            "without network, copy the TweetEval repository and set data.dir=FOLDER"
        ) from None
