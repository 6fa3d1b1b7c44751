"""What it comes to in the end: the quickstart, the smallest model that is right enough, and a comparison of many.

`--part quickstart` is `python run.py` with nothing cached but the texts. `--part best` is `experiment=best` on the two
Corona CSVs in `--data DIR`, from the teacher `--teacher ARTIFACT` where it is given (else it is fine-tuned first, 25
minutes). `--part many` compares 200 artifacts. `--folder DIR` keeps what `best` makes there and goes on with what was
interrupted. `--quick` takes a few steps of each, so its accuracies mean nothing.
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
    """Run chirplet; seconds from the command to its end, and the most memory that it and its children held, in GB."""
    started, peak = time.perf_counter(), 0
    process = psutil.Popen([sys.executable, "run.py", *overrides], cwd=ROOT, stdout=sys.stderr)
    while process.poll() is None:
        peak = max(peak, held(process))
        time.sleep(0.2)
    if process.returncode != 0:
        raise SystemExit(f"run.py {' '.join(overrides)}: exit {process.returncode}")
    return time.perf_counter() - started, peak / 1e9


def places(folder: Path) -> list[str]:
    """The overrides that keep a run and its cache below a folder."""
    return [f"cache_dir={folder}/cache", f"hydra.run.dir={folder}/out"]


def held(process: psutil.Process) -> int:
    """Bytes of a process and all that it started, as they are now."""
    total = 0
    with suppress(psutil.NoSuchProcess):  # it ended while it was looked at
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_info().rss
    return total


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The comparison's rows by the name of the run."""
    with (folder / "comparison.csv").open(newline="", encoding="utf-8") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def quickstart(folder: Path, quick: bool) -> tuple[Figures, dict[str, Any]]:
    """`python run.py` as it is."""
    short = ["trainer=debug"] if quick else []
    seconds, memory = run(*short, *places(folder))
    found = rows(folder / "out")
    figures = [
        figure("python run.py, nothing cached", seconds / 60, "min", at_most=5.0),
        figure("python run.py: peak memory", memory, "GB", at_most=3.0),
        *(figure(f"{name}: test accuracy", float(row["test/accuracy"]), "share") for name, row in found.items()),
    ]
    return figures, {"quickstart": found}


def best(folder: Path, data: Path | None, teacher: Path | None, overrides: list[str]) -> tuple[Figures, dict[str, Any]]:
    """`experiment=best`, its last step beside its first."""
    examples = [] if data is None else ["data=corona_nlp", f"data.dir={data.resolve()}"]
    start = [] if teacher is None else ["~chain.steps.teacher", f"artifact={teacher.resolve()}"]
    begun = (folder / "out").exists()
    seconds, _ = run("experiment=best", *examples, *start, *places(folder), *overrides)
    found = rows(folder / "out")
    first, last = next(iter(found.values())), list(found.values())[-1]
    times = float(last["cost/texts_per_s"]) / float(first["cost/texts_per_s"])
    smaller = float(first["cost/mb"]) / float(last["cost/mb"])
    drop = 100 * float(last["drop_from_baseline"])
    figures = [
        figure("experiment=best: texts/s, of its teacher's in PyTorch fp32", times, "times", at_least=12.0),
        figure("experiment=best: times smaller on disk", smaller, "times", at_least=8.0),
        figure("experiment=best: drop of test accuracy", drop, "points", at_most=1.0),
    ]
    if not begun:  # else it is the last part's time alone
        figures.append(figure("experiment=best: the whole chain", seconds / 60, "min"))
    student = found["student"]
    figures += [
        figure("its student: drop of test accuracy", 100 * float(student["drop_from_baseline"]), "points", at_most=0.3),
        figure(
            "its student: texts/s, of its teacher's",
            float(student["cost/texts_per_s"]) / float(first["cost/texts_per_s"]),
            "times",
            at_least=1.9,
        ),
    ]
    if student["control_low"]:  # else stage.label_only_baseline=false was asked for
        gain = 100 * float(student["control_low"])
        figures.append(figure("its student: lower end of the gain over its control", gain, "points"))
    return figures, {"best": found}


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
        own = folder / "many" / str(number) / "artifact"
        shutil.copytree(one, own)
        record = json.loads((own / "artifact.json").read_text())
        changed = {"id": f"{number:064x}", "seed": number, "settings": record["settings"] | {"number": number}}
        (own / "artifact.json").write_text(json.dumps(record | changed))
        noise = pa.array(list(logits + random.normal(size=logits.shape).astype(np.float32)), pa.list_(pa.float32()))
        place = table.column_names.index("logits")
        pq.write_table(table.set_column(place, "logits", noise), own / "predictions.parquet")
    seconds, _ = run("stage=compare", f"artifacts={folder}/many/**/artifact", f"hydra.run.dir={folder}/out")
    assert len(rows(folder / "out")) == MANY
    return [figure(f"stage=compare of {MANY} artifacts", seconds, "s", at_most=10.0)], {}


def main() -> None:
    """Run, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("quickstart", "best", "many"), help="one part of it")
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--teacher", type=Path, help="the artifact to start from, made from the same texts")
    parser.add_argument("--folder", type=Path, help="where experiment=best is kept; a temporary one by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("overrides", nargs="*", help="further overrides for experiment=best")
    arguments = parser.parse_args()
    from chirplet.system.hardware import cpu_cores, cpu_name

    figures: Figures = []
    context: dict[str, Any] = {"cpu": cpu_name(), "threads": cpu_cores(), "quick": arguments.quick, "seeds": [42]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.part in {None, "quickstart"}:
            found, told = quickstart(folder / "quickstart", arguments.quick)
            figures, context = figures + found, context | told
        if arguments.part in {None, "many"}:
            found, told = many(folder / "many")
            figures, context = figures + found, context | told
        if arguments.part in {None, "best"}:
            few = ["trainer=debug"] if arguments.quick else []
            kept = (arguments.folder or folder / "best").absolute()
            found, told = best(kept, arguments.data, arguments.teacher, [*few, *arguments.overrides])
            figures, context = figures + found, context | told
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
