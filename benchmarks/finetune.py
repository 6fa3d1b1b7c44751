"""Fine-tuning: accuracy, and the time from the command to the printed metrics.

`python benchmarks/finetune.py` runs `stage=finetune` with its defaults; `--data DIR` runs `experiment=corona_minilm` on
the two Corona CSVs in DIR. `--quick` trains only a few steps, so its accuracy means nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import figure, matrix_product_rate

ROOT = Path(__file__).resolve().parents[1]


def run(overrides: list[str]) -> tuple[dict[str, Any], float]:
    """Run chirplet with an empty cache; returns the record of its artifact and the seconds of the command."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "run.py", *overrides, f"hydra.run.dir={folder}/out", f"cache_dir={folder}/cache"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - started
        return json.loads((Path(folder) / "out" / "artifact" / "artifact.json").read_text()), seconds


def main() -> None:
    """Run, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("overrides", nargs="*", help="further overrides for run.py")
    arguments = parser.parse_args()
    overrides = ["stage=finetune", *arguments.overrides, *(["trainer=debug"] if arguments.quick else [])]
    if arguments.data is not None:
        overrides = ["data=corona_nlp", f"data.dir={arguments.data.resolve()}", "experiment=corona_minilm", *overrides]
    before = matrix_product_rate()
    record, seconds = run(overrides)
    test, training = record["metrics"]["test"], record["training"]
    if arguments.data is None:
        figures = [
            figure("command to test metrics", seconds, "s", at_most=120),
            figure("test accuracy, vader_tweets, 5 classes", test["accuracy"], "share", at_least=0.67),
        ]
    else:
        figures = [
            figure("training time, corona_nlp", training["seconds"] / 60, "min", at_most=25),
            figure("test accuracy, corona_nlp", test["accuracy"], "share", at_least=0.862),
            figure("test macro-F1, corona_nlp", test["f1_macro"], "share", at_least=0.865),
        ]
    context = {
        "cpu": record["cpu"]["name"],
        "bf16_gflops": {"before": round(before), "after": round(matrix_product_rate())},
        "threads": training["threads"],
        "precision": training["precision"],
        "versions": record["versions"],
        "data": record["data"]["source"],
        "sizes": record["data"]["sizes"],
        "test": {name: test[name] for name in ("n", "accuracy", "f1_macro", "loss", "calibration_error")},
        "training": training,
        "seeds": [record["seed"]],
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
