"""The cost of tracking and atomic checkpoints together, as a share of the training time.

`python benchmarks/overhead.py` fine-tunes MiniLM for the same steps, interleaved: bare (no logger, no callback, so no
checkpoint), and with `logger=[csv,wandb]` (offline) and the callbacks of `callback=default`, which save the best and
the last checkpoint at every validation. Both validate, evaluate the result on validation and write the artifact. The
cost is the difference of the complete runs, including the start and the end of the loggers. `--data DIR` trains one
epoch of `experiment=corona_minilm` instead of three of the default data. `--quick` takes a few steps, so that the start
of the loggers dominates and its share means nothing.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measuring import figure

ROOT = Path(__file__).resolve().parents[1]
PATIENT = 1000
"""Patience in validations, so large that early stopping never stops a run."""

SIDES = {
    "bare": ["logger=none", "callback=none"],
    "tracked": ["logger=[csv,wandb]", "callback=default", f"callback.early_stopping.patience_validations={PATIENT}"],
}
LEAST = ["stage=finetune", "stage.evaluate_train=false", "stage.evaluate_test=false", "stage.measure_cost=false"]
ROUNDS = 4


def run(overrides: list[str], folder: Path) -> dict[str, Any]:
    """One run: its total seconds, those of training with validation, and the size of its files."""
    from hydra import compose, initialize_config_dir

    from chirplet.artifact.artifact import Artifact
    from chirplet.cli.experiment import execute

    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=overrides)
    started = time.perf_counter()
    with redirect_stdout(sys.stderr):
        execute(config, folder)
    seconds = time.perf_counter() - started
    record = Artifact.open(folder / "artifact").record
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "seconds": seconds,
        "training": record.training["seconds"],
        "steps": record.training["steps"],
        "megabytes": written / 1e6,
        "cpu": record.cpu["name"],
        "threads": record.training["threads"],
        "data": record.data.source,
        "seed": record.seed,
    }


def main() -> None:
    """Warm up, run both sides interleaved, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each side")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    few = ["trainer.limit_train_batches=4", "trainer.limit_val_batches=2", "trainer.max_epochs=1"]
    length = ["trainer.max_epochs=1" if arguments.data else "trainer.max_epochs=3"]
    if arguments.quick:
        length = ["trainer.limit_train_batches=20", "trainer.limit_val_batches=4", "trainer.max_epochs=1"]
    shared = [*LEAST, *(["trainer.log_every_n_steps=5"] if arguments.quick else [])]
    if arguments.data is not None:
        shared = ["data=corona_nlp", f"data.dir={arguments.data.resolve()}", "experiment=corona_minilm", *shared]
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"WANDB_MODE": "offline", "WANDB_DATA_DIR": f"{name}/data", "WANDB_CACHE_DIR": f"{name}/cache"}
        for side, overrides in SIDES.items():  # imports, tokens, the W&B service
            run([*shared, *few, *overrides], folder / f"warm-{side}")
        for number in range(1 if arguments.quick else arguments.rounds):
            order = list(SIDES) if number % 2 == 0 else list(SIDES)[::-1]
            rounds.append({side: run([*shared, *length, *SIDES[side]], folder / f"{number}-{side}") for side in order})
    whole = [(both["tracked"]["seconds"] - both["bare"]["seconds"]) / both["bare"]["training"] for both in rounds]
    training = [both["tracked"]["training"] / both["bare"]["training"] - 1 for both in rounds]
    details = rounds[0]["tracked"]
    figures = [
        figure("tracking and safe saving", statistics.median(whole), "share of training time", at_most=0.03),
        figure("share of this during training", statistics.median(training), "share of training time"),
        figure("bare training", statistics.median(both["bare"]["training"] for both in rounds), "s"),
        figure("files of a tracked run", details["megabytes"], "MB"),
    ]
    context = {
        "cpu": details["cpu"],
        "threads": details["threads"],
        "versions": {name: version(name) for name in ("torch", "pytorch-lightning", "wandb")},
        "data": details["data"],
        "seeds": [details["seed"]],
        "steps": details["steps"],
        "rounds": [{side: round(both[side]["seconds"], 2) for side in SIDES} for both in rounds],
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
