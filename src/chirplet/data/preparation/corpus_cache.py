"""A prepared corpus on disk: one Arrow file, with everything that is not a column as JSON in its metadata.

A single file can be replaced atomically. The fingerprint is checked when it is read.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as arrow

from chirplet.data.base import SPLITS, Corpus, DataReport, Examples, Split
from chirplet.system.cache_files import write_atomically
from chirplet.system.error import first_line

FORMAT = 1
"""Incremented when the same files and settings give another corpus, or when the file's layout changes."""
_METADATA = b"chirplet"


class CorruptError(Exception):
    """A cache entry is damaged."""


def fingerprint(labels: Sequence[str], splits: Mapping[Split, Examples]) -> str:
    """SHA-256 of the labels and of every tweet's split, row id, text and label."""
    rows = {name: [splits[name].row_id, splits[name].text, splits[name].label.tolist()] for name in SPLITS}
    return hashlib.sha256(json.dumps([list(labels), rows]).encode()).hexdigest()


def write(corpus: Corpus, path: Path) -> None:
    """Write the corpus to `path` atomically.

    Raises:
        DataError: the file cannot be written.
    """

    description = {
        "name": corpus.name,
        "labels": corpus.labels,
        "fingerprint": corpus.fingerprint,
        "report": corpus.report.as_dict(),
        "sizes": corpus.sizes(),
    }
    splits = [corpus.split(name) for name in SPLITS]
    table = arrow.table(
        {
            "row_id": arrow.array([row for split in splits for row in split.row_id], arrow.string()),
            "text": arrow.array([text for split in splits for text in split.text], arrow.large_string()),
            "label": arrow.array([label for split in splits for label in split.label.tolist()], arrow.int64()),
            "date": arrow.array([date for split in splits for date in split.date], arrow.string()),
        }
    ).replace_schema_metadata({_METADATA: json.dumps(description)})
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_atomically(sink.getvalue().to_pybytes(), path)


def read(path: Path) -> Corpus:
    """Read the corpus at `path`.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptError: the file is damaged.
    """

    content = path.read_bytes()
    try:
        table = arrow.ipc.open_file(content).read_all()
        description = json.loads(table.schema.metadata[_METADATA])
        splits: dict[Split, Examples] = {}
        start = 0
        for name in SPLITS:
            part = table.slice(start, description["sizes"][name])
            splits[name] = Examples(
                row_id=part["row_id"].to_pylist(),
                text=part["text"].to_pylist(),
                label=part["label"].to_numpy().copy(),
                date=part["date"].to_pylist(),
            )
            start += len(part)
        corpus = Corpus(
            name=description["name"],
            labels=tuple(description["labels"]),
            train=splits["train"],
            val=splits["val"],
            test=splits["test"],
            fingerprint=description["fingerprint"],
            report=DataReport(**description["report"]),
        )
    except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptError(first_line(error)) from error
    if fingerprint(corpus.labels, splits) != corpus.fingerprint:
        raise CorruptError("its fingerprint does not match")
    return corpus
