"""The time of short commands: help, composition, and errors.

`python benchmarks/startup.py` prints wall-clock seconds, each the median of interleaved runs.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from measuring import figure

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "import hydra": (["-c", "import hydra"], 0, None),
    "run.py --help": (["run.py", "--help"], 0, 0.7),
    "run.py --cfg job": (["run.py", "--cfg", "job"], 0, 0.7),
    "misspelt key": (["run.py", "stage=finetune", "stage.learnin_rate=1"], 2, 2.0),
    "wrong type": (["run.py", "stage=finetune", "stage.learning_rate=fast"], 2, 2.0),
    "out of range": (["run.py", "stage=finetune", "stage.warmup_fraction=2"], 2, 2.0),
    "missing file": (["run.py", "stage=predict", "artifact=nowhere", "input=none.csv", "output=out.csv"], 2, 2.0),
}


def seconds(command: list[str], exit_code: int) -> float:
    """Wall-clock seconds of one run that must exit with `exit_code`."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode != exit_code:
        raise SystemExit(f"{command}: got exit code {done.returncode}, should be {exit_code}: {done.stderr}")
    return elapsed


def main() -> None:
    """Run all commands interleaved, several times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 11")
    quick = parser.parse_args().quick
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(3 if quick else 11):
        for name, (command, exit_code, _) in COMMANDS.items():
            times[name].append(seconds(command, exit_code))
    figures = [
        figure(name, statistics.median(times[name]), "s", at_most=goal) for name, (_, _, goal) in COMMANDS.items()
    ]
    context = {
        "cpu": platform.processor() or platform.machine(),
        "versions": {"python": platform.python_version(), "hydra-core": version("hydra-core")},
        "quick": quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
