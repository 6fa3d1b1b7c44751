"""Texts without labels: those of files, and augmented copies with words dropped. The teacher alone supervises them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from chirplet.data.base import Corpus, Examples, row_names
from chirplet.data.preparation.repair import repair
from chirplet.data.preparation.repaired_texts import text_key
from chirplet.data.table.dialect import TableSettings
from chirplet.data.table.reader import read_table
from chirplet.system.error import DataError
from chirplet.system.progress import counted
from chirplet.task.base import UNLABELLED


def read_unlabeled(files: Sequence[str], settings: TableSettings, mend: bool) -> Examples:
    """The texts in the files' text column, repaired if `mend`; blank texts are left out.

    Raises:
        DataError: a file is missing, damaged, or without that column, or a cell of the column is not text.
    """
    paths = [Path(file).expanduser() for file in files]
    column = str(settings.text_column)
    rows: list[str] = []
    texts: list[str] = []
    for path, name in zip(paths, row_names(paths), strict=True):
        try:
            with read_table(path, [column], settings.dialect) as table:
                for row in counted(table, f"reading {path.name}"):
                    text = table.text(row, column)
                    if text.strip():
                        rows.append(f"{name}:{row.number}")
                        texts.append(repair(text)[0] if mend else text)
        except DataError as error:
            raise error.renamed({"data.": "stage.unlabeled."}).behind("unlabeled_files: ") from None
    return _unlabelled(rows, texts)


def without_known(examples: Examples, corpus: Corpus) -> Examples:
    """The examples whose text is in no split of the corpus, each text once, so that no held-out text is trained on."""
    seen = {text_key(text) for split in (corpus.train, corpus.val, corpus.test) for text in split.text} | {""}
    keep = []
    for index, text in enumerate(examples.text):
        key = text_key(text)
        if key not in seen:
            seen.add(key)
            keep.append(index)
    return examples.take(np.array(keep, np.int64))


def word_drop(examples: Examples, share: float, copies: int, seed: int) -> Examples:
    """`copies` of each text in which each word is dropped with probability `share`; at least one word stays."""
    rows: list[str] = []
    texts: list[str] = []
    for copy in range(copies):
        random = np.random.default_rng((seed, copy))
        for row, text in zip(examples.row_id, examples.text, strict=True):
            words = text.split()
            kept = random.random(len(words)) >= share
            if words and not kept.any():
                kept[random.integers(len(words))] = True
            rows.append(f"{row}#{copy + 1}")
            texts.append(" ".join(word for word, stays in zip(words, kept, strict=True) if stays))
    return _unlabelled(rows, texts)


def without_held_out(copies: Examples, plain: Examples, corpus: Corpus) -> Examples:
    """Restore the original text of copies that have become equal to a validation or test text."""
    held_out = {text_key(text) for split in (corpus.val, corpus.test) for text in split.text}
    texts = [
        plain.text[index % len(plain)] if text_key(text) in held_out else text for index, text in enumerate(copies.text)
    ]
    return replace(copies, text=texts)


def _unlabelled(rows: list[str], texts: list[str]) -> Examples:
    return Examples(rows, texts, np.full(len(texts), UNLABELLED, np.int64), [None] * len(texts))
