"""How a classifier that was trained elsewhere becomes an artifact: the command, for messages."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from chirplet.system.command_line import argument, command

WORDS = ("true", "false", "null", "nan", "inf")
"""Words that an override reads as other values than text."""
MOST_LABELS = 8
"""The most labels that a message names before their names in the data are known."""


def labels_override(own: Sequence[str], names: Sequence[str]) -> str:
    """The override, quoted for a shell, that gives the labels of a model, in the order of its logits, these names.

    A label that cannot be a key of an override is given by its position.
    """
    return argument("stage.labels", {_key(*pair): name for pair, name in zip(enumerate(own), names, strict=True)})


def how_to_import(folder: Path) -> str:
    """The end of an error about `folder`: the command that makes an artifact of its classifier, if it has one."""
    try:
        labels = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("id2label") or {"0": "LABEL_0"}
        own = [str(label) for label in labels.values()]
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    path = argument("model.name_or_path", folder)
    named = labels_override(own[:MOST_LABELS], ["NAME"] * len(own[:MOST_LABELS]))
    more = f" and so on for {len(own)} labels" if len(own) > MOST_LABELS else ""
    return (
        f"; of a classifier that was trained elsewhere, {command('stage=import_model', 'model=local')} {path} data=csv "
        f"data.train=FILE {named}{more} makes one, with the data's names of its labels"
    )


def _key(index: int, label: str) -> str:
    """The label as a key of an override, which Hydra's grammar has no quotes for."""
    return (
        label if re.fullmatch(r"[A-Za-z_][\w ./-]{,40}", label, re.ASCII) and label.lower() not in WORDS else str(index)
    )
