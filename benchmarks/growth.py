"""How the time to repair, clean and tokenise a text grows with its length, for texts designed to be slow.

`python benchmarks/growth.py` measures each text of `tests/hostile.py` in two lengths and prints, for each kind of work,
the steepest growth and the slowest text. Linear work takes 4 times as long for 4 times the length, quadratic work 16
times. `tests/data/test_linear.py` checks this without a clock. `--quick` measures short texts once, which is imprecise.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from measuring import ROOT, Figures, figure

from chirplet.data.batching.tokens import tokenize
from chirplet.data.preparation.cleaning import cleaner
from chirplet.data.preparation.normalizers import Cleaning
from chirplet.data.preparation.repair import repair
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.system.hardware import cpu_name

sys.path.insert(0, str(ROOT / "tests"))
from checkpoints import settings_of, tiny_bert, tiny_bertweet, tiny_roberta  # type: ignore[import-not-found]
from hostile import HOSTILE  # type: ignore[import-not-found]

TIMES = 4
MOST = 8
"""Largest growth of the time for `TIMES` the length: the geometric mean of linear and quadratic."""
LEAST_S = 0.01
"""Lower bound for the time of the shorter text, since shorter times are mostly noise."""

Work = Callable[[str], object]


def works(folder: Path) -> dict[str, Work]:
    """All steps that a text passes before it reaches a model, by name."""
    cleanings = {f"cleaning {name}": cleaning(name) for name in get_args(Cleaning) if name != "none"}
    return {"repair": repair, **cleanings} | {
        f"tokens of {make.__name__}": tokenization(make(folder / make.__name__))
        for make in (tiny_bert, tiny_roberta, tiny_bertweet)
    }


def cleaning(preset: Cleaning) -> Work:
    """Cleaning with a preset. Presets that are normalizers reject lone surrogates."""
    clean = cleaner(preset)
    return lambda text: clean(text.encode(errors="replace").decode())


def tokenization(checkpoint: Path) -> Work:
    """Tokenising with the tokenizer of a checkpoint, which rejects lone surrogates."""
    tokenizer = load_tokenizer(settings_of(checkpoint, max_length=32))
    return lambda text: tokenize([text.encode(errors="replace").decode()], tokenizer, "none", 32)


def seconds(work: Work, text: str) -> float:
    """CPU time of the process."""
    started = time.process_time()
    work(text)
    return time.process_time() - started


def measured(work: Work, length: int, rounds: int) -> dict[str, tuple[float, float]]:
    """By text: the least seconds for `length` characters and for `TIMES` as many, in alternating runs."""
    times = {}
    for name, hostile in HOSTILE.items():
        short, long = hostile(length), hostile(TIMES * length)
        work(hostile(64))
        pairs = [(seconds(work, short), seconds(work, long)) for _ in range(rounds)]
        times[name] = (min(pair[0] for pair in pairs), min(pair[1] for pair in pairs))
    return times


def figures_of(work: str, times: dict[str, tuple[float, float]], length: int) -> tuple[Figures, dict[str, str]]:
    """The growth and the slowest text of one kind of work, and the names of these texts."""
    growth = {name: long / max(short, LEAST_S) for name, (short, long) in times.items()}
    steepest = max(growth, key=growth.__getitem__)
    slowest = max(times, key=lambda name: times[name][1])
    figures = [
        figure(f"{work}: time for {TIMES} times the length", growth[steepest], "times", at_most=MOST),
        figure(f"{work}: slowest text", times[slowest][1] / (TIMES * length) * 1e6, "µs per character"),
    ]
    return figures, {"steepest": steepest, "slowest": slowest}


def main() -> None:
    """Measure each kind of work and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=50_000, help="characters of the shorter text")
    parser.add_argument("--quick", action="store_true", help="2,000 characters, once")
    arguments = parser.parse_args()
    length, rounds = (2_000, 1) if arguments.quick else (arguments.length, 3)
    figures: Figures = []
    texts = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, work in works(Path(folder)).items():
            of_work, texts[name] = figures_of(name, measured(work, length, rounds), length)
            figures += of_work
    versions = {name: version(name) for name in ("ftfy", "regex", "emoji", "tokenizers", "transformers")}
    context = {
        "cpu": cpu_name(),
        "threads": 1,
        "versions": {"python": platform.python_version(), **versions},
        "data": "tests/hostile.py",
        "seeds": [],
        "characters": [length, TIMES * length],
        "texts": texts,
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
