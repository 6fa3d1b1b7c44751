"""How long it takes to prepare data, in one process and on all cores, and to lay out batches.

`python benchmarks/prepare.py --data DIR` prepares the Corona texts in DIR: reads, repairs, deduplicates and splits
them, without the cache. Without it, as many texts are made up, two fifths of them damaged. What one process and several
give is compared byte by byte.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from measuring import ROOT, Figures, figure

from chirplet.cli.binding import parse
from chirplet.data.base import Source
from chirplet.data.batching.batches import training_loader
from chirplet.data.batching.tokens import Tokens
from chirplet.data.preparation import corpus_cache
from chirplet.data.preparation.prepare import build
from chirplet.system.hardware import cpu_cores, cpu_name

TEXTS = 41_157
DAMAGED = ("it’s", "“quoted” …", "R&B & more", "line\r\nbreak", "caf\u00e9 \U0001f600", "plain words", "http://t.co/x")


def written(folder: Path, count: int) -> Path:
    """A CSV file of made-up texts, of which some were read as Windows-1252 and some were escaped for HTML."""
    random = np.random.default_rng(42)
    words = ["the", "and", "stay", "home", "shop", "store", "food", "panic", "please", "buy", "people", "price"]
    lines = ["text,label"]
    for number in range(count):
        text = " ".join([*random.choice(words, 25), DAMAGED[number % 7], str(number)])
        if number % 5 == 1:
            text = text.encode().decode("cp1252", errors="replace")
        elif number % 5 == 3:
            text = text.replace("&", "&amp;").replace("’", "&#8217;")
        lines.append(f'"{text}",{"good" if number % 2 else "bad"}')
    path = folder / "texts.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def source_of(overrides: list[str]) -> Source:
    """The data source of these overrides."""
    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        source = parse(compose("config", ["stage=explore", *overrides])).data
    assert isinstance(source, Source)
    return source


def prepared(source: Source, folder: Path, processes: int) -> tuple[float, float, bytes]:
    """Wall-clock and CPU seconds to prepare a source, those of its processes included, and the cache entry."""
    started, before = time.perf_counter(), os.times()
    corpus = build(source, source.files(folder), processes)
    seconds, after = time.perf_counter() - started, os.times()
    path = folder / f"{processes}.arrow"
    corpus_cache.write(corpus, path)
    return seconds, sum(after[:4]) - sum(before[:4]), path.read_bytes()


def preparing(source: Source, folder: Path, rounds: int) -> Figures:
    """Seconds in one process and on all cores, interleaved, after one round that imports."""
    processes = max(2, cpu_cores())
    prepared(source, folder, 1)
    times: dict[int, list[tuple[float, float]]] = {1: [], processes: []}
    entries = set()
    for _ in range(rounds):
        for number, taken in times.items():
            *seconds, entry = prepared(source, folder, number)
            taken.append((seconds[0], seconds[1]))
            entries.add(entry)
    wall = {number: statistics.median(seconds for seconds, _ in taken) for number, taken in times.items()}
    cpu = {number: statistics.median(seconds for _, seconds in taken) for number, taken in times.items()}
    return [
        figure("one process", wall[1], "s"),
        figure("one process, CPU time", cpu[1], "s"),
        figure("all cores", wall[processes], "s"),
        figure("all cores, CPU time", cpu[processes], "s"),
        figure("all cores as fast as one process", wall[1] / wall[processes], "times", at_least=1.8),
        figure("same bytes", float(len(entries) == 1), "", at_least=1),
    ]


def batching(batch_size: int) -> Figures:
    """CPU time of sampler, loader and padding for a batch: the least of five epochs."""
    random = np.random.default_rng(42)
    lengths = np.clip(random.normal(45, 20, TEXTS), 5, 128).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = Tokens(random.integers(5, 30_000, offsets[-1]).astype(np.int32), offsets)
    loader = training_loader(tokens, np.zeros(TEXTS, np.int64), 0, batch_size, seed=42, pool_batches=50, pad_to=4)
    seconds = []
    for _ in range(5):
        started = time.process_time()
        count = sum(1 for _ in loader)
        seconds.append((time.process_time() - started) / count)
    return [figure(f"a batch of {batch_size}", min(seconds) * 1e6, "µs", at_most=200)]


def main() -> None:
    """Measure and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--quick", action="store_true", help="2,000 made-up texts, once")
    arguments = parser.parse_args()
    count, rounds = (2_000, 1) if arguments.quick else (TEXTS, 5)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        own = ["data=csv", f"data.train={written(folder, count)}"]
        corona = ["data=corona_nlp", f"data.dir={arguments.data}"]
        source = source_of(own if arguments.data is None or arguments.quick else corona)
        figures = preparing(source, folder, rounds)
    figures += [*batching(32), *batching(256)]
    context = {
        "cpu": cpu_name(),
        "threads": cpu_cores(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("ftfy", "numpy", "torch")},
        },
        "data": source.name,
        "seeds": [42],
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
