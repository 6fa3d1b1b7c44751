"""Labels with too few texts: an error, or their texts are dropped or get one label together."""

from collections import Counter
from dataclasses import replace

from chirplet.data.base import RawCorpus, RawExample, Source
from chirplet.system.error import DataError

_SHOWN = 5
"""Labels that a message names at most."""


def without_rare(raw: RawCorpus, source: Source, where: str) -> tuple[RawCorpus, list[RawExample]]:
    """The corpus without rare labels, as `source.rare` says, and the examples that were dropped or merged.

    A label is rare if the whole source has fewer than `source.min_per_label` texts of it, or if it has too few to be in
    every split that is taken from a set. The merged label is the last one, unless the source has a label of that name.

    Raises:
        DataError: a label is rare and should be an error, or the merged label is rare itself.
    """
    rare = _rare(raw, source)
    if not rare:
        return raw, []
    if source.rare == "error":
        raise DataError(_message(raw, source, rare, where))
    touched = [row for rows in raw.splits.values() for row in rows if row.label in rare]
    labels = tuple(label for label in raw.labels if label not in rare)
    if source.rare == "drop":
        splits = {name: [row for row in rows if row.label not in rare] for name, rows in raw.splits.items()}
        return RawCorpus(labels, splits), touched
    other = source.rare_label
    labels = labels if other in labels else (*labels, other)
    splits = {
        name: [replace(row, label=other) if row.label in rare else row for row in rows]
        for name, rows in raw.splits.items()
    }
    merged = RawCorpus(labels, splits)
    still = _rare(merged, source)
    if still:
        raise DataError(_message(merged, source, still, where))
    return merged, touched


def _needed(raw: RawCorpus, source: Source) -> tuple[int, str]:
    """The texts of a label that the splits taken from a set need, and what for."""
    carved = [name for name in ("val", "test") if name not in raw.splits]
    parts = [name for name in carved if {"val": source.val_fraction, "test": source.test_fraction}[name] > 0.0]
    if source.folds is not None:
        test = "test" in parts
        return source.folds + test, f"one for each of the {source.folds} folds{' and one for test' if test else ''}"
    return 1 + len(parts), f"one for each of {', '.join(['train', *parts])}"


def _counts(raw: RawCorpus, source: Source) -> tuple[Counter[str], Counter[str]]:
    """Texts by label in the whole source, and in the sets that splits are taken from."""
    whole = Counter(row.label for rows in raw.splits.values() for row in rows)
    sets = ("train", "val") if source.folds is not None else ("train",)
    return whole, Counter(row.label for name, rows in raw.splits.items() if name in sets for row in rows)


def _rare(raw: RawCorpus, source: Source) -> list[str]:
    whole, pool = _counts(raw, source)
    if len(whole) < 2:  # nothing to learn, whatever their number
        return []
    needed, _ = _needed(raw, source)
    least = source.min_per_label or 0
    return [label for label in raw.labels if whole[label] < least or 0 < pool[label] < needed]


def _message(raw: RawCorpus, source: Source, rare: list[str], where: str) -> str:
    whole, pool = _counts(raw, source)
    each = [
        f"{whole[label]}{'' if place else ' texts'} of {'' if place else 'the label '}{label!r}"
        + (f" ({pool[label]} in train)" if pool[label] < whole[label] else "")
        for place, label in enumerate(rare[:_SHOWN])
    ]
    more = f" and few of {len(rare) - _SHOWN} more labels" if len(rare) > _SHOWN else ""
    needed, purpose = _needed(raw, source)
    least = source.min_per_label or 0
    limit = f"{least} or more" if least >= needed else f"{needed} or more, {purpose}"
    others = len(raw.labels) - len(rare)
    remedies = ["add texts"]
    if others >= 2:
        remedies.append("data.rare=drop leaves them out")
    if others >= 1 and source.rare == "error":
        remedies.append(f"data.rare=merge makes them one label ({source.rare_label})")
    return (
        f"data.min_per_label: got {', '.join(each)}{more} in {where}, should be {limit}; "
        f"{', '.join(remedies[:-1])}{', or ' if remedies[1:] else ''}{remedies[-1]}"
    )
