"""What `gpu.py` measures with: processes that may fail, and the figures so far."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from family_checkpoint import write_checkpoint
from gpu_ways import on_gpu
from measuring import ROOT, Figures, figure

BERTWEET = (12, 768, 12, 3072)
WORDS = 64_001
MODELS = ("MiniLM", "12 x 768")
START_S, WAY_S, RUN_S = 60.0, 45.0, 150.0
"""Most seconds of the start of a process, of each of its ways, and of a run of `run.py`; ten times as many without a
GPU."""

Order = dict[str, Any]
Results = dict[str, Any]


class Bench:
    """Measurements on the same texts, with one cache, and their figures so far."""

    def __init__(self, data: Path | None, folder: Path, quick: bool, minutes: float) -> None:
        self.corona = data
        self.data = [] if data is None else ["data=corona_nlp", f"data.dir={data.resolve()}"]
        self.folder = folder
        self.quick = quick
        self.end = time.monotonic() + 60 * minutes
        self.figures: Figures = []
        self.rows: dict[str, Results] = {}
        self.graphs = [] if on_gpu() else ["trainer.cuda_graphs=true"]
        """Overrides that use graphs also where there is no GPU."""

    def model(self, name: str) -> list[str]:
        """Overrides for one of `MODELS`. The large one is written when it is first needed."""
        if name == "MiniLM":
            return []
        folder = self.folder / "large"
        if not folder.exists():
            sizes = (2, *BERTWEET[1:]) if self.quick else BERTWEET
            write_checkpoint(folder, "roberta", sizes=sizes, words=WORDS)
        return ["model=local", f"model.name_or_path={folder}"]

    def order(self, way: str, *overrides: str, steps: tuple[int, int] = (100, 300), **more: Any) -> Order:
        """What `gpu_ways.py` is to measure: `steps` are those before the timed ones, and these."""
        skipped, timed = (1, 2) if self.quick else steps
        common = {"overrides": [*self.data, *overrides], "scratch": str(self.folder)}
        return {"way": way, "skipped": skipped, "steps": timed} | common | more

    def measured(self, orders: dict[str, Order]) -> dict[str, Results]:
        """The results of each order, one after the other in a process; in a new one after an order that failed."""
        done: dict[str, Results] = {}
        while len(done) < len(orders):
            left = dict(list(orders.items())[len(done) :])
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                path = Path(name) / "results"
                command = [str(ROOT / "benchmarks" / "gpu_ways.py"), json.dumps([*left.values()]), str(path)]
                fault = self.ended(command, START_S + WAY_S * len(left))
                lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            found = dict(zip(left, map(json.loads, lines), strict=False))
            if len(found) < len(left):
                found[list(left)[len(found)]] = {"failed": fault}
            for row, results in found.items():
                print(f"{row}: {results}", file=sys.stderr)
            done |= found
        self.rows |= done
        return done

    def run(self, *overrides: str) -> float:
        """Seconds of a run of `run.py`.

        Raises:
            RuntimeError: it failed.
        """
        started = time.perf_counter()
        if fault := self.ended(["run.py", *self.data, *overrides], RUN_S):
            raise RuntimeError(f"run.py {' '.join(overrides)}: {fault}")
        return time.perf_counter() - started

    def ended(self, command: list[str], most_s: float) -> str | None:
        """Run Python with these arguments to its end, its output on standard error. Returns why it failed, or None."""
        most_s = min(most_s * (1 if on_gpu() else 10), self.end - time.monotonic())
        if most_s <= 0:
            return "no time was left (--minutes)"
        with subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=sys.stderr, start_new_session=True
        ) as process:
            try:
                code = process.wait(most_s)
            except subprocess.TimeoutExpired:
                return f"took more than {most_s:.0f} s"
            finally:  # and the processes that it started
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return None if code == 0 else f"exit {code}"

    def add(self, name: str, results: Results, key: str = "texts_per_s", unit: str = "texts/s") -> None:
        """Add the figure `key` of one order's results, which does not hold if the order failed."""
        added = figure(name, results.get(key, 0.0), unit)
        self.figures.append(added if key in results else added | {"holds": False})

    def add_ratio(self, name: str, ours: Results, other: Results, goal: float) -> None:
        """Add the ratio of two rates, which is 0 if one is not known."""
        one, two = (each.get("texts_per_s", 0.0) for each in (ours, other))
        self.figures.append(figure(name, one / two if two else 0.0, "ratio", at_least=goal))
