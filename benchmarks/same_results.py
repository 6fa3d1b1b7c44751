"""Whether a change of the code changed any result: metrics and file hashes of every stage, to the last digit.

`python benchmarks/same_results.py record FILE` runs each stage on the default texts with `deterministic=true` and
writes the results to `FILE`. On a changed checkout, `python benchmarks/same_results.py compare FILE` repeats this and
prints the differences. Both must run on the same machine. `--folder DIR` keeps the runs and resumes interrupted ones;
`--only NAME ...` runs only these and the runs that they start from. `--quick` takes a few steps of each.
"""

import argparse
import csv
import hashlib
import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import Kept, figure

PRUNERS: dict[str, tuple[str, ...]] = {
    "magnitude": (),
    "wanda": (),
    "movement": (),
    "structured": ("pruner.layers=4", "pruner.heads=6"),
    "vocabulary": (),
}
"""By pruner, the overrides that it needs."""
QUANTIZERS = (
    *("onnx_int8", "openvino_int8", "openvino_int8_weights", "int4_weights"),
    *("torch_int8", "qat", "bf16", "fp16"),
)
TIMED = ("ms", "per_s", "seconds", "times_")
"""Parts of column names and record keys with times, or ratios of times."""
BATCHES = 24
"""Training batches per epoch, enough for every method to have an effect."""
ALWAYS = (
    *("deterministic=true", "logger=none", "trainer.threads=1"),  # sums depend on the number of threads
    f"trainer.limit_train_batches={BATCHES}",
)
UNSTABLE = ("artifact.json", "README.md")
"""Files that contain times, versions or text."""


@dataclass(frozen=True)
class Planned:
    """One run: its name, the run whose artifact it starts from, and its overrides."""

    name: str
    start: str | None
    overrides: tuple[str, ...]


def plan() -> list[Planned]:
    """Every stage that makes an artifact, with each of its methods, and the quickstart."""
    once = ("trainer.max_epochs=1",)
    return [
        Planned("finetune", None, ("stage=finetune", "trainer.max_epochs=2")),
        Planned("distill", "finetune", ("stage=distill", "distiller=[logits,hidden,attention]", *once)),
        *(Planned(name, "finetune", ("stage=prune", f"pruner={name}", *more, *once)) for name, more in PRUNERS.items()),
        *(Planned(name, "finetune", ("stage=quantize", f"quantizer={name}", *once)) for name in QUANTIZERS),
        Planned("quickstart", None, ("chain.settings.epochs=1",)),
    ]


def start_override(planned: Planned, folder: Path) -> list[str]:
    """The override with the artifact that a run starts from."""
    if planned.start is None:
        return []
    key = "teacher" if "stage=distill" in planned.overrides else "artifact"
    return [f"{key}={folder / planned.start / 'artifact'}"]


def artifact(folder: Path) -> dict[str, Any]:
    """An artifact's id, the hash of each file, and its metrics."""
    record = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in UNSTABLE
    }
    return {"id": record["id"], "files": files, "metrics": record["metrics"]}


def comparison(file: Path) -> list[dict[str, str]]:
    """The rows of a comparison, without the columns with times."""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    return [{key: value for key, value in row.items() if not any(part in key for part in TIMED)} for row in rows]


def results(folder: Path, only: list[str], quick: bool) -> dict[str, Any]:
    """Execute the runs, or only those in `only`, and collect their results."""
    runs = Kept(folder)
    collected: dict[str, Any] = {}
    short = ["trainer=debug"] if quick else []
    selected = [run for run in plan() if not only or run.name in only or run.name == "finetune"]
    for planned in selected:
        started = time.perf_counter()
        overrides = [*planned.overrides, *start_override(planned, folder), *ALWAYS, *short]
        output = runs.run(planned.name, *overrides)
        print(f"{planned.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        artifacts = {
            path.parent.relative_to(output).as_posix(): artifact(path.parent)
            for path in sorted(output.rglob("artifact.json"))
        }
        collected[planned.name] = {"artifacts": artifacts}
        if (table := output / "comparison.csv").exists():
            collected[planned.name]["comparison"] = comparison(table)
    return collected


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """The differences between two results, one per line."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        return [line for key in keys for line in differences(before.get(key), after.get(key), f"{path}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for index, (old, new) in pairs for line in differences(old, new, f"{path}/{index}")]
    return [] if before == after else [f"{path}: {before} -> {after}"]


def main() -> None:
    """Record the results, or compare them with a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--folder", type=Path, help="folder for the runs; a temporary one by default")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run only these")
    parser.add_argument("--quick", action="store_true", help="a few steps of each run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        collected = results((arguments.folder or Path(scratch)).resolve(), arguments.only, arguments.quick)
    figures = []
    if arguments.action == "record":
        arguments.file.write_text(json.dumps(collected, indent=1) + "\n", encoding="utf-8")
    else:
        before = json.loads(arguments.file.read_text(encoding="utf-8"))
        differing = differences({name: before[name] for name in collected}, collected)
        print("\n".join(differing), file=sys.stderr)
        figures = [figure("results that differ", len(differing), "count", at_most=0)]
    context = {"cpu": platform.processor() or platform.machine(), "runs": sorted(collected), "quick": arguments.quick}
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
