"""Shared parts of the benchmarks: figures with goals, kept runs, and the machine's rate of matrix products."""

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
    """One figure; `holds` says whether it reaches its goal, and is None without a goal."""
    goal = at_least if at_most is None else at_most
    holds = None if goal is None else value >= goal if at_most is None else value <= goal
    return {"name": name, "value": round(value, 4), "unit": unit, "goal": goal, "holds": holds}


@dataclass
class Kept:
    """Runs of `run.py` in one folder with one cache. Finished runs are reused, interrupted ones are resumed."""

    folder: Path

    def run(self, name: str, *overrides: str) -> Path:
        """The output folder of a finished run; its output goes to stderr."""
        output = self.folder / name
        overrides_file, done = output / "asked.json", output / "done"
        if overrides_file.is_file() and json.loads(overrides_file.read_text(encoding="utf-8")) != list(overrides):
            raise SystemExit(
                f"--folder: {str(output)!r} was made with other overrides than {' '.join(overrides)}; remove it"
            )
        if not done.exists():
            output.mkdir(parents=True, exist_ok=True)
            overrides_file.write_text(json.dumps(overrides), encoding="utf-8")
            # First, so that a user's cache_dir overrides this one.
            folders = [f"hydra.run.dir={output}", f"cache_dir={self.folder}/cache"]
            command = [sys.executable, "run.py", *folders, *overrides]
            code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode
            if code != 0:
                raise SystemExit(f"run.py {' '.join(overrides)}: exit {code}")
            done.touch()
        return output


def matrix_product_rate() -> float:
    """Rate of bf16 matrix products of MiniLM's shapes, an upper bound of the training speed, in GFLOP/s."""
    import torch

    left, right = torch.randn(1536, 384).bfloat16(), torch.randn(384, 1536).bfloat16()
    best, start, tries = float("inf"), time.perf_counter(), 0
    # A product takes more than a second on a CPU without bf16.
    while tries < 200 and (tries < 2 or time.perf_counter() - start < 2.0):
        started = time.perf_counter()
        left @ right
        best, tries = min(best, time.perf_counter() - started), tries + 1
    return 2 * 1536 * 384 * 1536 / best / 1e9
