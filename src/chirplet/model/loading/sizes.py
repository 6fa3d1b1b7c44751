"""Check the sizes in a checkpoint's configuration before a model is built from them."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from chirplet.model.family import FAMILIES
from chirplet.model.family.base import ConfigNames
from chirplet.system.error import ModelError

NAMES = dict.fromkeys(family.names for family in FAMILIES.values())
"""Of every family, for types of models that are in none."""
LAYERS = re.compile(r"(^|_)layers?$")
MOST_LAYERS = 1_000
MOST = {
    "num_labels": 2**16,
    "embedding_size": 2**16,
    "vocab_size": 2**24,
    "type_vocab_size": 2**16,
    **{name: 2**16 for names in NAMES for name in (names.hidden_size, names.heads)},
    **{name: 2**20 for names in NAMES for name in (names.intermediate_size, names.positions)},
}
"""Upper limits, far above any encoder."""
MOST_WEIGHTS = 2**34
"""Most parameters of a model with random weights; the largest BERT or RoBERTa has 2**33.3."""


def check_sizes(folder: Path, weights: Sequence[Path] = ()) -> None:
    """Check that the model of `config.json` is below the limits and no larger than its `weights`.

    The check compares lower bounds of the number of parameters: the layers' largest matrices, and each embedding table.
    They hold for every relative of BERT, and bound a model to about ten times the parameters in its files. A file that
    is no JSON or no safetensors is not reported here, since opening it does.

    Args:
        folder: the checkpoint's folder.
        weights: its safetensors files, of which only the headers are read; empty for random weights.

    Raises:
        ModelError: a size is too large. The message names the key.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        held = sum(map(_numbers, weights)) if weights else MOST_WEIGHTS
    except (OSError, ValueError, RecursionError, SafetensorError):
        return
    for key, value in _whole_numbers(config):
        most = MOST_LAYERS if LAYERS.search(key) else MOST.get(key, math.inf)
        if value > most:
            raise ModelError(f"{path}: {key}: got {value}, should be at most {most}")
    family = FAMILIES.get(str(config.get("model_type"))) if isinstance(config, dict) else None
    for keys, claimed in _claimed(dict(_whole_numbers(config)), NAMES if family is None else [family.names]):
        if claimed > held:
            but = f"its {'files hold' if weights[1:] else 'file holds'}" if weights else "no model has more than"
            raise ModelError(f"{path}: {', '.join(keys)} make {claimed:,} weights or more, but {but} {held:,}")


def _numbers(weights: Path) -> int:
    with safe_open(weights, framework="np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping


def _whole_numbers(node: Any) -> Iterator[tuple[str, int]]:
    """Every key with an integer value, the outermost last."""
    if not isinstance(node, dict):
        return
    for value in node.values():
        yield from _whole_numbers(value)
    yield from ((key, value) for key, value in node.items() if type(value) is int)


def _claimed(sizes: dict[str, int], every: Iterable[ConfigNames]) -> Iterator[tuple[list[str], int]]:
    """Lower bounds of the number of parameters, each with its keys."""
    for names in every:
        keys = [names.distinct_layers or names.layers, names.hidden_size, names.intermediate_size]
        layers, hidden, inner = (sizes.get(key, 1) for key in keys)
        yield keys, layers * hidden * max(hidden, inner)
        width = min(names.hidden_size, "embedding_size", key=lambda key: sizes.get(key, math.inf))
        for table in ("vocab_size", names.positions, "type_vocab_size"):
            yield [table, width], sizes.get(table, 1) * sizes.get(width, 1)
