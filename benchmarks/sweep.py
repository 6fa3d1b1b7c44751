"""The overhead of a sweep: waiting workers, the overhead of a trial, and its growth with the number of trials.

`python benchmarks/sweep.py` sweeps over the application in `sweep_app`, whose trials sleep for a given time. A sweep
with two workers is compared with Hydra's batches of two, if `hydra-joblib-launcher` is installed. A batch lasts as long
as its longer trial, and long and short trials alternate, the worst case for batches. `--quick` has shorter and fewer
trials. The start of a command then dominates, so the goal for waiting workers is left out.
"""

import argparse
import heapq
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from measuring import Figures, figure

from chirplet.system.hardware import cpu_cores, cpu_name

ROOT = Path(__file__).resolve().parents[1]
APP = Path(__file__).parent / "sweep_app"
LAUNCHER = "hydra-joblib-launcher"

WORKERS = 2
LENGTHS_S = (6.3, 0.5, 6.4, 0.6, 6.5, 0.7, 6.6, 0.8, 6.7, 0.9, 6.8, 1.0, 6.9, 1.1, 7.0, 1.2)
"""Lengths of the trials in order of their start, a minute in all; distinct, since they are categories."""
QUICK_SCALE = 0.15
"""Factor of the lengths with `--quick`."""

SPACE = (
    "rate=tag(log, interval(1e-5, 1e-1))",
    "share=interval(0.0, 1.0)",
    "depth=range(1, 9)",
    "kind=choice(a, b, c)",
)
"""The search space of the quick trials."""
SAMPLERS = ("tpe", "random")


@dataclass(frozen=True)
class Run:
    """One command: its seconds, its start, and (start, end) of its trials in order of starting."""

    seconds: float
    began: float
    trials: list[tuple[float, float]]

    @property
    def busy_s(self) -> float:
        """From the first trial's start to the last one's end."""
        return max(ended for _, ended in self.trials) - self.trials[0][0]

    @property
    def start_s(self) -> float:
        """From the command to its first trial."""
        return self.trials[0][0] - self.began


def run(overrides: Sequence[str], count: int) -> Run:
    """Sweep in an empty folder with `overrides`; `count` trials must have run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(APP / "app.py"), "-m", *overrides, f"hydra.sweep.dir={folder}/sweep"]
        began, started = time.time(), time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        marks = [json.loads(path.read_text()) for path in Path(folder, "sweep").glob("*/times.json")]
    if done.returncode != 0 or len(marks) != count:
        raise SystemExit(f"{command}: {len(marks)} of {count} trials, exit {done.returncode}\n{done.stderr[-4000:]}")
    return Run(seconds, began, sorted((mark["started"], mark["ended"]) for mark in marks))


def without_barrier(lengths: Sequence[float]) -> Run:
    """The trials with chirplet's sweeper, in which a free worker takes the next trial."""
    points = ",".join(f"{{sleep_s:{length}}}" for length in lengths)
    overrides = [f"sleep_s=choice({_listed(lengths)})", f"hydra.sweeper.enqueue=[{points}]"]
    overrides += [f"hydra.sweeper.n_trials={len(lengths)}", f"hydra.sweeper.n_jobs={WORKERS}"]
    return run([*_sweeper(), *overrides], len(lengths))


def in_batches(lengths: Sequence[float]) -> Run:
    """The trials with Hydra's basic sweeper, in batches of one trial per worker."""
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={WORKERS}", f"hydra.sweeper.max_batch_size={WORKERS}"]
    return run([*launcher, f"sleep_s={_listed(lengths)}"], len(lengths))


def quick_trials(sampler: str, count: int) -> Run:
    """Trials that do not sleep, one after the other in one process."""
    settings = [f"hydra/sweeper/sampler={sampler}", f"hydra.sweeper.n_trials={count}", "hydra.sweeper.figures=false"]
    return run([*_sweeper(), *SPACE, "hydra.sweeper.direction=minimize", *settings], count)


def _sweeper() -> list[str]:
    # The default trial overrides only apply to chirplet's configuration.
    return ["--config-dir", str(ROOT / "conf"), "hydra/sweeper=optuna", "hydra.sweeper.trial_overrides=[]"]


def _listed(lengths: Sequence[float]) -> str:
    return ",".join(map(str, lengths))


def list_schedule(lengths: Sequence[float], workers: int) -> float:
    """Seconds of these trials if a free worker takes the next one, without overhead."""
    free = [0.0] * workers
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def batch_schedule(lengths: Sequence[float], workers: int) -> float:
    """Seconds of these trials in batches that end with their longest trial, without overhead."""
    return sum(max(lengths[index : index + workers]) for index in range(0, len(lengths), workers))


def overheads(trials: Sequence[tuple[float, float]]) -> list[float]:
    """Seconds from the end of each trial to the start of the next one."""
    return [start - end for (_, end), (start, _) in pairwise(trials)]


def slope(costs: Sequence[float]) -> tuple[float, float]:
    """Least-squares slope of costs over their indices, and its standard error."""
    middle, mean = (len(costs) - 1) / 2, statistics.fmean(costs)
    spread = sum((index - middle) ** 2 for index in range(len(costs)))
    rise = sum((index - middle) * (cost - mean) for index, cost in enumerate(costs)) / spread
    rest = sum((cost - mean - rise * (index - middle)) ** 2 for index, cost in enumerate(costs))
    return rise, (rest / (len(costs) - 2) / spread) ** 0.5


def composition_s() -> float:
    """Median seconds in which Hydra composes one quick trial from its files."""
    point = ["rate=0.001", "share=0.5", "depth=3", "kind=a"]
    overrides = [f"hydra.searchpath=[file://{ROOT / 'conf'}]", "hydra/sweeper=optuna", *point]
    times = []
    with initialize_config_dir(str(APP / "conf"), version_base="1.3"):
        for _ in range(10):
            started = time.perf_counter()
            compose("config", overrides=overrides, return_hydra_config=True)
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def barrier_figures(lengths: Sequence[float], rounds: int, goal: float | None) -> tuple[Figures, dict[str, Any]]:
    """Two workers with and without a barrier, interleaved; the figures are medians of the rounds."""
    methods = {"no barrier": without_barrier} | ({"Hydra's batches": in_batches} if installed(LAUNCHER) else {})
    runs: dict[str, list[Run]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            runs[name].append(method(lengths))
    ideal = list_schedule(lengths, WORKERS)
    figures = []
    for name, done in runs.items():
        whole = statistics.median(one.seconds for one in done)
        busy = statistics.median(one.busy_s for one in done)
        is_chirplet = name == "no barrier"
        figures.append(
            figure(f"{name}: whole command / ideal", whole / ideal, "ratio", at_most=goal if is_chirplet else None)
        )
        figures.append(figure(f"{name}: first start to last end / ideal", busy / ideal, "ratio"))
    context = {
        "lengths_s": list(lengths),
        "ideal_s": round(ideal, 3),
        "ideal_of_batches_s": round(batch_schedule(lengths, WORKERS), 3),
        "whole_command_s": {name: [round(one.seconds, 2) for one in done] for name, done in runs.items()},
        "before_first_trial_s": {name: [round(one.start_s, 2) for one in done] for name, done in runs.items()},
        "after_last_trial_s": {
            name: [round(one.seconds - one.start_s - one.busy_s, 2) for one in done] for name, done in runs.items()
        },
    }
    return figures, context


def quick_figures(count: int, rounds: int) -> tuple[Figures, dict[str, Any]]:
    """Many quick trials with each sampler, interleaved: the overhead of one, and its growth with their number."""
    costs: dict[str, list[list[float]]] = {sampler: [] for sampler in SAMPLERS}
    seconds: dict[str, list[float]] = {sampler: [] for sampler in SAMPLERS}
    for _ in range(rounds):
        for sampler in SAMPLERS:
            done = quick_trials(sampler, count)
            costs[sampler].append(overheads(done.trials))
            seconds[sampler].append(round(done.seconds, 2))
    figures, spread, errors, edge = [], {}, {}, count // 10
    for sampler in SAMPLERS:
        # The mean over rounds reduces the noise of the machine.
        cost = [statistics.fmean(same) for same in zip(*costs[sampler], strict=True)]
        rise, errors_s = slope(cost)
        goal = 0.3 if sampler == "tpe" else None
        figures += [
            figure(f"overhead of a trial, {sampler}", statistics.fmean(cost), "s", at_most=goal),
            figure(f"its slope, {sampler}", rise * 1e6, "ms per 1,000 trials"),
            figure(f"its mean over the first {edge}, {sampler}", statistics.fmean(cost[:edge]) * 1e3, "ms"),
            figure(f"its mean over the last {edge}, {sampler}", statistics.fmean(cost[-edge:]) * 1e3, "ms"),
        ]
        quantiles = statistics.quantiles(cost, n=20)
        spread[sampler] = {"median": round(statistics.median(cost) * 1e3, 1), "p95": round(quantiles[-1] * 1e3, 1)}
        errors[sampler] = round(errors_s * 1e6, 2)
    context = {
        "quick_trials": count,
        "overhead_ms": spread,
        "standard_error_of_slope": errors,
        "whole_command_of_quick_trials_s": seconds,
    }
    return figures, context


def installed(package: str) -> str | None:
    """The version of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter and fewer trials, one round instead of two")
    quick = parser.parse_args().quick
    rounds, count = (1, 100) if quick else (2, 1000)
    lengths = [round(length * QUICK_SCALE, 3) for length in LENGTHS_S] if quick else list(LENGTHS_S)
    packages = ("hydra-core", "omegaconf", "optuna", LAUNCHER, "joblib")
    before = composition_s()
    barrier, barrier_context = barrier_figures(lengths, rounds, None if quick else 1.1)
    many, many_context = quick_figures(count, rounds)
    # Measured twice, which also shows whether the machine's speed changed.
    composed = [before * 1e3, composition_s() * 1e3]
    comparison = figure("Hydra composes a configuration, for comparison", statistics.fmean(composed), "ms")
    context = {
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        "workers": WORKERS,
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in packages},
        "data": "trials that sleep, in benchmarks/sweep_app",
        "seeds": [42],
        "quick": quick,
        "rounds": rounds,
        "composition_ms": {"before": round(composed[0], 1), "after": round(composed[1], 1)},
        **barrier_context,
        **many_context,
    }
    if installed(LAUNCHER) is None:
        context["left_out"] = f"Hydra's batches: {LAUNCHER} is not installed"
    print(json.dumps({"figures": [*barrier, *many, comparison], "context": context}))


if __name__ == "__main__":
    main()
