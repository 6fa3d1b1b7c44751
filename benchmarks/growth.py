"""How the time to repair, clean and tokenise a text grows with its length, for texts made to be slow.

`python benchmarks/growth.py` takes each text of `tests/hostile.py` in two lengths and prints, for each kind of work,
the steepest growth and the slowest text. Linear work takes 4 times as long for 4 times the length, quadratic work 16
times. What the suite checks of it, without a clock, is in `tests/data/test_linear.py`. `--quick` takes short texts
once, whose growth says little.
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

from measuring import ROOT, Figures, figure

from chirplet.data.batching.tokens import tokenize
from chirplet.data.preparation.cleaning import CLEANINGS
from chirplet.data.preparation.repair import repair
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.system.hardware import cpu_name

sys.path.insert(0, str(ROOT / "tests"))
from checkpoints import settings_of, tiny_bert, tiny_bertweet, tiny_roberta  # type: ignore[import-not-found]
from hostile import HOSTILE  # type: ignore[import-not-found]

TIMES = 4
MOST = 8
"""Times as long for `TIMES` the length: halfway, as a factor, between linear and quadratic."""
LEAST_S = 0.01
"""What the shorter text is taken to need where it needs less, since growth is chance there."""

Work = Callable[[str], object]


def works(folder: Path) -> dict[str, Work]:
    """Everything that is done to a text before a model sees it, by name."""
    cleanings = {f"cleaning {name}": clean for name, clean in CLEANINGS.items() if name != "none"}
    return {"repair": repair, **cleanings} | {
        f"tokens of {make.__name__}": tokenization(make(folder / make.__name__))
        for make in (tiny_bert, tiny_roberta, tiny_bertweet)
    }


def tokenization(checkpoint: Path) -> Work:
    """Tokenising with the tokenizer of a checkpoint, which takes no half characters."""
    tokenizer = load_tokenizer(settings_of(checkpoint, max_length=32))
    return lambda text: tokenize([text.encode(errors="replace").decode()], tokenizer, "none", 32)


def seconds(work: Work, text: str) -> float:
    """CPU time, on this thread and others."""
    started = time.process_time()
    work(text)
    return time.process_time() - started


def measured(work: Work, length: int, rounds: int) -> dict[str, tuple[float, float]]:
    """By text: the least seconds for `length` characters and for `TIMES` as many, which alternate."""
    found = {}
    for name, hostile in HOSTILE.items():
        short, long = hostile(length), hostile(TIMES * length)
        work(hostile(64))
        pairs = [(seconds(work, short), seconds(work, long)) for _ in range(rounds)]
        found[name] = (min(pair[0] for pair in pairs), min(pair[1] for pair in pairs))
    return found


def figures_of(work: str, found: dict[str, tuple[float, float]], length: int) -> tuple[Figures, dict[str, str]]:
    """Its growth and its slowest text, and which texts these were."""
    growth = {name: long / max(short, LEAST_S) for name, (short, long) in found.items()}
    steepest = max(growth, key=growth.__getitem__)
    slowest = max(found, key=lambda name: found[name][1])
    figures = [
        figure(f"{work}: time for {TIMES} times the length", growth[steepest], "times", at_most=MOST),
        figure(f"{work}: slowest text", found[slowest][1] / (TIMES * length) * 1e6, "µs per character"),
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
