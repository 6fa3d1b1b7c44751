"""Check the names of labels across splits: the same label may be written in several ways."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from chirplet.data.base import RawExample, Split
from chirplet.system.error import DataError, near

_GAP = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
_PLAIN = re.compile(r"[\w.+-]+( [\w.+-]+)*")
"""Labels that Hydra reads in a mapping without escapes."""


def check_spelling(splits: Mapping[Split, Sequence[RawExample]]) -> None:
    """Check that no two labels differ only in case, spaces or decimals.

    Raises:
        DataError: some do; the message has all pairs and the mapping that makes them the same.
    """
    counts = Counter(example.label for name in splits for example in splits[name])
    spellings = defaultdict[str, list[str]](list)
    # The label of most rows, and of train, is the one to map to.
    order = {label: -count for label, count in counts.items()}
    trained = {example.label for example in splits["train"]}
    for label in sorted(counts, key=lambda label: (label not in trained, order[label], label)):
        spellings[_spelling(label)].append(label)
    pairs = {other: first for first, *others in spellings.values() for other in others}
    if pairs:
        shown = ", ".join(f"{other!r} and {first!r}" for other, first in pairs.items())
        first_row = next(row for name in splits for row in splits[name] if row.label in pairs)
        raise DataError(
            f"{_place(first_row)}: labels look alike: {shown}; set {mapping_hint(pairs)}, or list all in "
            "data.labels if they differ"
        )


def check_trained(splits: Mapping[Split, Sequence[RawExample]]) -> None:
    """Check that every label of val and test occurs in train.

    Raises:
        DataError: one does not; the message names it, its first row and the labels of train.
    """
    trained = sorted({example.label for example in splits["train"]})
    for name, examples in splits.items():
        missing = Counter(example.label for example in examples if example.label not in trained)
        for label, count in missing.items():
            row = _place(next(example for example in examples if example.label == label))
            known = ", ".join(map(repr, trained))
            raise DataError(
                f"{row}: {name} has the label {label!r} ({count:,} rows), which no row of train has; "
                f"train has {known}{near(label, trained)}; map it to one of them with data.label_map, or leave out "
                f"its rows with {mapping_hint(dict.fromkeys(missing, None))}"
            )


def alike(label: str, labels: Sequence[str]) -> str | None:
    """The one of the labels that differs from `label` only in case, spaces or decimals."""
    return next((other for other in labels if _spelling(other) == _spelling(label)), None)


def mapping_hint(pairs: Mapping[str, str | None]) -> str:
    """The override that maps these labels, if it needs no escapes."""
    names = {old: "null" if new is None else new for old, new in pairs.items()}
    if not all(_PLAIN.fullmatch(name) for pair in names.items() for name in pair):
        return "data.label_map"
    return f"'data.label_map={{{', '.join(f'{old}: {new}' for old, new in names.items())}}}'"


def _place(example: RawExample) -> str:
    return " row ".join(example.row_id.rsplit(":", 1))


def _spelling(label: str) -> str:
    """The label without case, and without gaps between words; a number as Python writes it."""
    try:
        return str(float(label.replace(",", ".")))
    except ValueError:
        return _GAP.sub("", label.casefold())
