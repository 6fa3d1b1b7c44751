"""Whether a change of the code changed any result: metrics and file hashes of every stage, to the last digit.

`python benchmarks/same_results.py record FILE` runs each stage on the default texts with `deterministic=true` and
writes what came out to `FILE`; on a changed checkout `python benchmarks/same_results.py compare FILE` does it again and
prints what differs. Both must run on one machine. `--folder DIR` keeps the runs there and resumes what was interrupted;
`--only NAME ...` makes those runs alone, and the ones that they start from. `--quick` takes a few steps of each.
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
"""Each with the overrides that it needs."""
QUANTIZERS = (
    *("onnx_int8", "openvino_int8", "openvino_int8_weights", "int4_weights"),
    *("torch_int8", "qat", "bf16", "fp16"),
)
TIMED = ("ms", "per_s", "seconds", "times_")
"""Parts of the names of columns and of record keys that hold times, or ratios of times."""
BATCHES = 24
"""Training batches an epoch: enough for every method to do its work."""
ALWAYS = ("deterministic=true", "logger=none", f"trainer.limit_train_batches={BATCHES}")
UNSTABLE = ("artifact.json", "README.md")
"""Files whose bytes hold times, versions or text."""


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


def started(planned: Planned, folder: Path) -> list[str]:
    """The override that names the artifact a run starts from."""
    if planned.start is None:
        return []
    key = "teacher" if "stage=distill" in planned.overrides else "artifact"
    return [f"{key}={folder / planned.start / 'artifact'}"]


def artifact(folder: Path) -> dict[str, Any]:
    """What an artifact came to: its id, the hash of each file, and its metrics."""
    record = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in UNSTABLE
    }
    return {"id": record["id"], "files": files, "metrics": record["metrics"]}


def comparison(file: Path) -> list[dict[str, str]]:
    """The rows of a comparison, without the columns that hold times."""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    return [{key: value for key, value in row.items() if not any(part in key for part in TIMED)} for row in rows]


def results(folder: Path, only: list[str], quick: bool) -> dict[str, Any]:
    """Carry the runs out, those in `only` where it names any, and collect what came out."""
    runs = Kept(folder)
    made: dict[str, Any] = {}
    short = ["trainer=debug"] if quick else []
    wanted = [one for one in plan() if not only or one.name in only or one.name == "finetune"]
    for planned in wanted:
        begun = time.perf_counter()
        overrides = [*planned.overrides, *started(planned, folder), *ALWAYS, *short]
        output = runs.run(planned.name, *overrides)
        print(f"{planned.name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        found = {
            path.parent.relative_to(output).as_posix(): artifact(path.parent)
            for path in sorted(output.rglob("artifact.json"))
        }
        made[planned.name] = {"artifacts": found}
        if (table := output / "comparison.csv").exists():
            made[planned.name]["comparison"] = comparison(table)
    return made


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """What differs between two results, a line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        return [line for key in keys for line in differences(before.get(key), after.get(key), f"{where}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for index, (old, new) in pairs for line in differences(old, new, f"{where}/{index}")]
    return [] if before == after else [f"{where}: {before} -> {after}"]


def main() -> None:
    """Record the results, or compare them with a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these runs alone")
    parser.add_argument("--quick", action="store_true", help="a few steps of each run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = results((given.folder or Path(scratch)).resolve(), given.only, given.quick)
    figures = []
    if given.action == "record":
        given.file.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    else:
        before = json.loads(given.file.read_text(encoding="utf-8"))
        found = differences({name: before[name] for name in made}, made)
        print("\n".join(found), file=sys.stderr)
        figures = [figure("results that differ", len(found), "count", at_most=0)]
    context = {"cpu": platform.processor() or platform.machine(), "runs": sorted(made), "quick": given.quick}
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
