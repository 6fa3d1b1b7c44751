"""The search of `search=finetune`: its time, and its best settings compared with the defaults.

`python benchmarks/search.py` runs `python run.py -m search=finetune` on the default data, and then trains with the best
settings and with the defaults, interleaved, with seeds that the search did not use. Each seed makes another split. All
runs are evaluated on validation. `--quick` searches with two trials and compares with one seed.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from measuring import figure, matrix_product_rate

from chirplet.system.hardware import cpu_cores, cpu_name

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (1, 2, 3)
METRIC = "f1_macro"


def command(overrides: list[str]) -> float:
    """Run chirplet; returns the seconds of the command."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "run.py", *overrides], cwd=ROOT, check=True, stdout=sys.stderr)
    return time.perf_counter() - started


def validated(overrides: list[str], folder: Path) -> float:
    """Train once with `overrides`; returns the metric on the validation split."""
    evaluated = ["stage.evaluate_test=false", "stage.evaluate_train=false", "stage.measure_cost=false"]
    command([*overrides, *evaluated, f"hydra.run.dir={folder}"])
    record = json.loads((folder / "artifact" / "artifact.json").read_text())
    return float(record["metrics"]["val"][METRIC])


def main() -> None:
    """Search, compare, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("overrides", nargs="*", help="further overrides for the search")
    arguments = parser.parse_args()
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    shorter = ["hydra.sweeper.n_trials=2"] if arguments.quick else []
    before = matrix_product_rate()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = folder / "sweep"
        search = ["-m", "search=finetune", f"hydra.sweep.dir={sweep}", *shorter, *arguments.overrides]
        seconds = command(search)
        with (sweep / "trials.csv").open(newline="", encoding="utf-8") as file:
            trials = list(csv.DictReader(file))
        best = (sweep / "experiment" / "tuned.yaml").read_text()
        scores: dict[str, list[float]] = {"default": [], "best": []}
        for seed in seeds:
            options = {"default": ["stage=finetune"], "best": ["--config-dir", str(sweep), "experiment=tuned"]}
            for kind, chosen in options.items():
                scores[kind].append(validated([*chosen, f"seed={seed}"], folder / f"{kind}_{seed}"))
    gains = [best - default for best, default in zip(scores["best"], scores["default"], strict=True)]
    figures = [
        figure("search=finetune, the whole command", seconds / 60, "min", at_most=10),
        figure(f"gain of the best settings in val/{METRIC}, mean over seeds", statistics.fmean(gains), "share",
               at_least=0.0),
    ]  # fmt: skip
    context: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        "bf16_gflops": {"before": round(before), "after": round(matrix_product_rate())},
        "data": "vader_tweets",
        "states": dict(Counter(trial["state"] for trial in trials)),
        "trials": trials,
        "best": best,
        "seeds": list(seeds),
        f"val/{METRIC}": scores,
        "gains": gains,
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
