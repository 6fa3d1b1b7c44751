"""What the benchmarks share: a figure with its goal, runs that are kept, and how fast the machine trains at best."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

Figures = list[dict[str, Any]]


def figure(
    name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    """One figure, which holds where it keeps to its goal; without a goal it is only told."""
    goal = at_least if at_most is None else at_most
    holds = None if goal is None else value >= goal if at_most is None else value <= goal
    return {"name": name, "value": round(value, 4), "unit": unit, "goal": goal, "holds": holds}


@dataclass
class Kept:
    """Runs of `run.py` below one folder, with one cache: those found there are taken up, unfinished ones go on."""

    folder: Path

    def run(self, name: str, *asked: str) -> Path:
        """The output folder of a run that ended well; what it prints goes to stderr."""
        output = self.folder / name
        told, done = output / "asked.json", output / "done"
        if told.is_file() and json.loads(told.read_text(encoding="utf-8")) != list(asked):
            raise SystemExit(f"--folder: {str(output)!r} was not made with {' '.join(asked)}; remove it")
        if not done.exists():
            output.mkdir(parents=True, exist_ok=True)
            told.write_text(json.dumps(asked), encoding="utf-8")
            # First, so that a cache of one's own wins.
            places = [f"hydra.run.dir={output}", f"cache_dir={self.folder}/cache"]
            command = [sys.executable, "run.py", *places, *asked]
            code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode
            if code != 0:
                raise SystemExit(f"run.py {' '.join(asked)}: exit {code}")
            done.touch()
        return output


def matrix_product_rate() -> float:
    """Billions of operations a second in bf16 products of MiniLM's shapes, which bound the training speed."""
    import torch

    left, right = torch.randn(1536, 384).bfloat16(), torch.randn(384, 1536).bfloat16()
    best, begun, tries = float("inf"), time.perf_counter(), 0
    # A CPU without bf16 takes more than a second for one.
    while tries < 200 and (tries < 2 or time.perf_counter() - begun < 2.0):
        started = time.perf_counter()
        left @ right
        best, tries = min(best, time.perf_counter() - started), tries + 1
    return 2 * 1536 * 384 * 1536 / best / 1e9
