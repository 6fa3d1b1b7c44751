"""Prepare a corpus from a source's files: read, repair, split, remove flawed tweets from train, cache."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from chirplet.data.base import SPLITS, Corpus, DataReport, Examples, RawExample, Source, Split
from chirplet.data.preparation import corpus_cache as cache
from chirplet.data.preparation import deduplicate as audit
from chirplet.data.preparation.rare import without_rare
from chirplet.data.preparation.repair import ENCODING_KINDS, REPAIR_VERSION
from chirplet.data.preparation.repaired_texts import RepairedText, repaired_texts, text_key
from chirplet.data.preparation.split import carve, fold
from chirplet.system.cache_files import locked_folder
from chirplet.system.error import DataError
from chirplet.system.hashing import file_hash, json_hash
from chirplet.system.progress import Progress, counted

_EXAMPLES = 5

logger = logging.getLogger(__name__)


def prepare(source: Source, cache_dir: Path) -> Corpus:
    """The corpus of a source, from the cache if the same files and settings were prepared before.

    Raises:
        DataError: a file is missing or damaged, a label has too few tweets, or train has fewer than two labels.
    """
    files = source.files(cache_dir)
    # A second process waits here and then reads the entry of the first one.
    with Progress(f"preparing {source.name}"), locked_folder(cache_dir / "corpus") as folder:
        entry = folder / f"{source.name}-{_key(source, files)[:32]}.arrow"
        if entry.exists():
            try:
                return cache.read(entry)
            except cache.CorruptError as error:
                logger.warning("the cache entry %s is damaged (%s) and is written again", entry, error)
        corpus = build(source, files)
        cache.write(corpus, entry)
        return corpus


def build(source: Source, files: list[Path], processes: int | None = None) -> Corpus:
    """The corpus of a source, prepared from these files without the cache, by `processes` (see `repaired_texts`).

    Raises:
        ProcessError: one of the processes exited.
        DataError: see `prepare`.
    """
    where = ", ".join(map(str, files))
    read = source.read(files)
    raw, rare = without_rare(read, source, where)
    for name, rows in raw.splits.items():
        if not rows:
            raise DataError(f"{where}: no tweets for {name}")
    ledger = _Ledger()
    if rare:
        ledger.found["rare"] = len(rare)
        ledger.examples["rare"] = [row.row_id for row in rare[:_EXAMPLES]]
        if source.rare == "drop":
            ledger.dropped["rare"] = len(rare)
    texts = [row.text for rows in raw.splits.values() for row in rows]
    repaired = list(counted(repaired_texts(texts, source.repair, processes), "repairing", len(texts)))
    keys = {text: key for text, _, key in repaired}
    of_rows = iter(repaired)
    sets = {
        name: _examples(rows, [*islice(of_rows, len(rows))], raw.labels, ledger) for name, rows in raw.splits.items()
    }
    for tweets in sets.values():
        masks = audit.flaws(tweets, keys)
        for reason, mask in masks.items():
            ledger.note(ledger.found, reason, tweets, mask)
        ledger.found["conflict_texts"] += audit.texts(tweets, masks["conflict"], keys)
    _check_classes(sets["train"], f"{where}: train has")
    splits = _split(source, sets)
    splits["train"] = _without_flaws(source, splits, ledger, keys)
    report = ledger.report({name: len(rows) for name, rows in read.splits.items()})
    _check_classes(splits["train"], f"{where}: {report.left_out() or 'nothing left out'}; train has")
    absent = sorted(set(range(len(raw.labels))) - set(splits["train"].label.tolist()))
    if absent:
        logger.warning("no train tweet has the label %s", ", ".join(repr(raw.labels[index]) for index in absent))
    return Corpus(
        name=source.name,
        labels=raw.labels,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        fingerprint=cache.fingerprint(raw.labels, splits),
        report=report,
    )


def train_and_val(corpus: Corpus, source: Source) -> Examples:
    """Train and validation tweets, for a final training without validation.

    The source's policies for train are applied to both, so that no tweet is also in test.
    """
    joined: dict[Split, Examples] = {"train": corpus.train.joined(corpus.val), "test": corpus.test}
    keys = {text: text_key(text) for tweets in joined.values() for text in tweets.text}
    return _without_flaws(source, joined, _Ledger(), keys)


@dataclass
class _Ledger:
    """Counts of findings and repairs while a corpus is prepared."""

    repaired: Counter[str] = field(default_factory=Counter)
    repaired_cells: int = 0
    found: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, counts: Counter[str], reason: str, tweets: Examples, mask: audit.Mask) -> None:
        """Count the masked tweets, and record the first few as examples."""
        counts[reason] += int(mask.sum())
        if counts is self.found:
            room = _EXAMPLES - len(self.examples[reason])
            self.examples[reason] += [tweets.row_id[position] for position in np.flatnonzero(mask)[:room]]

    def report(self, read: dict[str, int]) -> DataReport:
        """The counts as a report."""
        examples = {reason: rows for reason, rows in self.examples.items() if rows}
        return DataReport(
            read, dict(self.repaired), self.repaired_cells, dict(self.found), dict(self.dropped), examples
        )


def _key(source: Source, files: list[Path]) -> str:
    """SHA-256 of the files' bytes, the settings, and the versions of the code that prepares a corpus."""
    settings = source.model_dump(mode="json")
    for name in source.paths:
        settings[name] = _last_part(settings[name])
    content = [[file.name, _digest(file)] for file in files]
    code = [cache.FORMAT, f"ftfy={version('ftfy')}", f"repair={REPAIR_VERSION}"]
    return json_hash([type(source).__qualname__, source.name, *code, settings, content])


def _last_part(path: Any) -> Any:
    if isinstance(path, list):
        return [_last_part(part) for part in path]
    return path if path is None else Path(path).name


def _digest(file: Path) -> str:
    try:
        return file_hash(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def _examples(
    rows: list[RawExample], repaired: Sequence[RepairedText], labels: tuple[str, ...], ledger: _Ledger
) -> Examples:
    """The examples of a set, whose rows were repaired to these texts."""
    index = {label: i for i, label in enumerate(labels)}
    for row, (_, kinds, _) in zip(rows, repaired, strict=True):
        if row.redecoded:
            kinds += ("bytes",)
        ledger.repaired.update(kinds)
        ledger.repaired["encoding"] += not ENCODING_KINDS.isdisjoint(kinds)
        ledger.repaired_cells += bool(kinds)
    return Examples(
        row_id=[row.row_id for row in rows],
        text=[text for text, _, _ in repaired],
        label=np.array([index[row.label] for row in rows], np.int64),
        date=[row.date for row in rows],
    )


def _check_classes(train: Examples, what: str) -> None:
    classes = len(np.unique(train.label))
    if classes < 2:
        raise DataError(f"{what} {len(train)} tweets with {classes} label(s), should have two labels or more")


def _split(source: Source, sets: Mapping[Split, Examples]) -> dict[Split, Examples]:
    """Train, val and test: those of the source, else taken from train."""
    train = sets["train"]
    test = sets.get("test")
    test_share = 0.0
    if test is None:
        test_share = source.test_fraction
        keep = source.folds or (2 if "val" not in sets and source.val_fraction > 0.0 else 1)
        rest, part = carve(train.label, test_share, source.split_seed, keep)
        train, test = train.take(rest), train.take(part)
    val = sets.get("val")
    if source.folds is not None:
        pool = train if val is None else train.joined(val)
        rest, part = fold(pool.label, source.folds, source.fold, source.split_seed)
        train, val = pool.take(rest), pool.take(part)
    elif val is None:
        # `val_fraction` refers to the source's set, from which test was already taken.
        share = source.val_fraction / (1.0 - test_share)
        rest, part = carve(train.label, share, source.split_seed)
        train, val = train.take(rest), train.take(part)
    return {"train": train, "val": val, "test": test}


def _without_flaws(source: Source, splits: Mapping[Split, Examples], ledger: _Ledger, keys: audit.Keys) -> Examples:
    """Train without the tweets that the policies drop; each is counted for its first reason."""
    train = splits["train"]
    masks = audit.flaws(train, keys)
    held_out = [name for name in SPLITS[1:] if name in splits]
    for name in held_out:
        masks[f"leak_{name}"] = audit.leaks(train, splits[name], keys)
        ledger.note(ledger.found, f"leak_{name}", train, masks[f"leak_{name}"])
    # Keeping one tweet of a conflict would choose its label by chance.
    masks["duplicate"] &= ~masks["conflict"]
    policies = {
        "blank": "drop",
        "leak_test": source.leaks,
        "leak_val": source.leaks,
        "conflict": source.conflicts,
        "duplicate": source.duplicates,
    }
    out = np.zeros(len(train), np.bool_)
    for reason, policy in policies.items():
        if policy == "drop" and reason in masks:
            ledger.note(ledger.dropped, reason, train, masks[reason] & ~out)
            out |= masks[reason]
    return train.take(np.flatnonzero(~out))
