"""Chains: the quickstart, the smallest model of acceptable accuracy, and a comparison of many artifacts.

`--part quickstart` is `python run.py` with only the texts cached. `--part best` is `experiment=best` on the two Corona
CSVs in `--data DIR`, from the teacher `--teacher ARTIFACT` (without it, a teacher is fine-tuned first, in 25 minutes).
`--part many` compares 200 artifacts. `--folder DIR` keeps the output of `best` and resumes after an interruption.
`--quick` trains a few steps of each, so its accuracies mean nothing.
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from measuring import ROOT, Figures, figure

MANY = 200


def run(*overrides: str) -> tuple[float, float]:
    """Run chirplet; returns the seconds of the command and the peak memory of its processes in GB."""
    started, peak = time.perf_counter(), 0
    process = psutil.Popen([sys.executable, "run.py", *overrides], cwd=ROOT, stdout=sys.stderr)
    while process.poll() is None:
        peak = max(peak, memory_of(process))
        time.sleep(0.2)
    if process.returncode != 0:
        raise SystemExit(f"run.py {' '.join(overrides)}: exit {process.returncode}")
    return time.perf_counter() - started, peak / 1e9


def folders(folder: Path) -> list[str]:
    """The overrides that put a run and its cache into a folder."""
    return [f"cache_dir={folder}/cache", f"hydra.run.dir={folder}/out"]


def memory_of(process: psutil.Process) -> int:
    """Current memory of a process and its children, in bytes."""
    total = 0
    with suppress(psutil.NoSuchProcess):  # it ended in the meantime
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    return total


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of a comparison by the name of the run."""
    with (folder / "comparison.csv").open(newline="", encoding="utf-8") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def quickstart(folder: Path, quick: bool) -> tuple[Figures, dict[str, Any]]:
    """`python run.py` without further settings."""
    short = ["trainer=debug"] if quick else []
    seconds, memory = run(*short, *folders(folder))
    models = rows(folder / "out")
    figures = [
        figure("python run.py, nothing cached", seconds / 60, "min", at_most=5.0),
        figure("python run.py: peak memory", memory, "GB", at_most=3.0),
        *(figure(f"{name}: test accuracy", float(row["test/accuracy"]), "share") for name, row in models.items()),
    ]
    return figures, {"quickstart": models}


def best(folder: Path, data: Path | None, teacher: Path | None, overrides: list[str]) -> tuple[Figures, dict[str, Any]]:
    """`experiment=best`, its last step compared with its first."""
    examples = [] if data is None else ["data=corona_nlp", f"data.dir={data.resolve()}"]
    start = [] if teacher is None else ["~chain.steps.teacher", f"artifact={teacher.resolve()}"]
    resumed = (folder / "out").exists()
    seconds, _ = run("experiment=best", *examples, *start, *folders(folder), *overrides)
    models = rows(folder / "out")
    first, last = next(iter(models.values())), list(models.values())[-1]
    times = float(last["cost/texts_per_s"]) / float(first["cost/texts_per_s"])
    smaller = float(first["cost/mb"]) / float(last["cost/mb"])
    drop = 100 * float(last["drop_from_baseline"])
    figures = [
        figure("experiment=best: texts/s, relative to its teacher in PyTorch fp32", times, "times", at_least=12.0),
        figure("experiment=best: times smaller on disk", smaller, "times", at_least=8.0),
        figure("experiment=best: drop of test accuracy", drop, "points", at_most=1.0),
    ]
    if not resumed:  # else the time is that of the last part only
        figures.append(figure("experiment=best: the whole chain", seconds / 60, "min"))
    student = models["student"]
    figures += [
        figure("its student: drop of test accuracy", 100 * float(student["drop_from_baseline"]), "points", at_most=0.3),
        figure(
            "its student: texts/s, relative to its teacher",
            float(student["cost/texts_per_s"]) / float(first["cost/texts_per_s"]),
            "times",
            at_least=1.9,
        ),
    ]
    if student["label_only_low"]:  # empty with stage.label_only_baseline=false
        gain = 100 * float(student["label_only_low"])
        figures.append(figure("its student: lower end of the gain over its label-only baseline", gain, "points"))
    return figures, {"best": models}


def many(folder: Path) -> tuple[Figures, dict[str, Any]]:
    """The comparison of 200 artifacts that differ in their logits."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    run("stage=finetune", "trainer=debug", "stage.measure_cost=true", f"hydra.run.dir={folder}/one")
    one = folder / "one" / "artifact"
    table = pq.read_table(one / "predictions.parquet")
    logits = np.array(table.column("logits").to_pylist(), np.float32)
    random = np.random.default_rng(0)
    for number in range(MANY):
        copy = folder / "many" / str(number) / "artifact"
        shutil.copytree(one, copy)
        record = json.loads((copy / "artifact.json").read_text())
        changed = {"id": f"{number:064x}", "seed": number, "settings": record["settings"] | {"number": number}}
        (copy / "artifact.json").write_text(json.dumps(record | changed))
        noise = pa.array(list(logits + random.normal(size=logits.shape).astype(np.float32)), pa.list_(pa.float32()))
        index = table.column_names.index("logits")
        pq.write_table(table.set_column(index, "logits", noise), copy / "predictions.parquet")
    seconds, _ = run("stage=compare", f"artifacts={folder}/many/**/artifact", f"hydra.run.dir={folder}/out")
    assert len(rows(folder / "out")) == MANY
    return [figure(f"stage=compare of {MANY} artifacts", seconds, "s", at_most=10.0)], {}


def main() -> None:
    """Run, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("quickstart", "best", "many"), help="run only this part")
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--teacher", type=Path, help="the artifact to start from, trained on the same texts")
    parser.add_argument("--folder", type=Path, help="folder for experiment=best; a temporary one by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("overrides", nargs="*", help="further overrides for experiment=best")
    arguments = parser.parse_args()
    from chirplet.system.hardware import cpu_cores, cpu_name

    figures: Figures = []
    context: dict[str, Any] = {"cpu": cpu_name(), "threads": cpu_cores(), "quick": arguments.quick, "seeds": [42]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.part in {None, "quickstart"}:
            results, details = quickstart(folder / "quickstart", arguments.quick)
            figures, context = figures + results, context | details
        if arguments.part in {None, "many"}:
            results, details = many(folder / "many")
            figures, context = figures + results, context | details
        if arguments.part in {None, "best"}:
            few = ["trainer=debug"] if arguments.quick else []
            output = (arguments.folder or folder / "best").absolute()
            results, details = best(output, arguments.data, arguments.teacher, [*few, *arguments.overrides])
            figures, context = figures + results, context | details
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
