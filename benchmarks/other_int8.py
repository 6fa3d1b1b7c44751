"""Whether torchao's int8 and int4 are useful on this CPU: speed and accuracy compared with PyTorch in fp32.

`python benchmarks/other_int8.py ARTIFACT [--data DIR]` needs `pip install torchao`, which chirplet does not depend on.
Each method is timed on the same validation texts in length order, interleaved, in this process. Int8 is measured eager
and compiled (with freezing, which its integer kernels need), int4 for weights only, in groups of 32.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, Figures, figure
from numpy.typing import NDArray

TEXTS, BATCH_SIZE, ROUNDS = 512, 32, 3
SLOWEST = 5.0
"""Limit relative to fp32's seconds for one batch. Slower methods are timed on that batch only."""


def methods(model: Any) -> dict[str, Callable[[], Any]]:
    """Functions that build a model for each method, by name."""
    import torch
    from torch._inductor import config
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    config.freezing = True

    def int8() -> Any:
        copy = deepcopy(model)
        quantize_(copy, Int8DynamicActivationInt8WeightConfig())
        return copy

    def int4() -> Any:
        copy = deepcopy(model)
        quantize_(copy, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)))  # type: ignore[attr-defined]
        return copy

    return {
        "fp32": lambda: model,
        "fp32, compiled": lambda: torch.compile(deepcopy(model), dynamic=True),
        "torchao int8": int8,
        "torchao int8, compiled": lambda: torch.compile(int8(), dynamic=True),
        "torchao int4 weights": int4,
    }


Batches = list[tuple[list[int], Any, Any]]
"""Positions, token ids and attention mask of each."""


def evaluation_data(folder: Path, examples: list[str], count: int) -> tuple[NDArray[np.int64], Batches]:
    """Labels of the first `count` validation texts of an artifact, and the texts in batches of similar length."""
    import torch
    from hydra import compose, initialize_config_dir

    from chirplet.artifact.artifact import Artifact
    from chirplet.cli.binding import parse
    from chirplet.data.batching.padding import by_length, padded
    from chirplet.data.preparation.prepare import prepare
    from chirplet.stage.run.parent import prepared

    artifact = Artifact.open(folder)
    share = artifact.record.config["data"]["val_fraction"]
    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        experiment = parse(compose("config", overrides=[*examples, f"data.val_fraction={share}"]))
    cache = Path(experiment.cache_dir).expanduser()
    data = prepared(artifact, prepare(experiment.data, cache), cache)
    val = data.corpus.val.take(np.arange(min(count, len(data.corpus.val))))
    tokens = data.tokens(val)
    batches: Batches = []
    for positions in by_length(tokens.lengths, BATCH_SIZE):
        ids, mask = (torch.from_numpy(part).long() for part in padded(tokens, positions, data.pad_id))
        batches.append((positions, ids, mask))
    return val.label, batches


def labeled(model: Any, batches: Batches, count: int) -> NDArray[np.int64]:
    """The labels that a model predicts for `count` texts; -1 for texts that are in no batch."""
    import torch

    predicted = np.full(count, -1, np.int64)
    with torch.inference_mode():
        for positions, ids, mask in batches:
            predicted[positions] = model(input_ids=ids, attention_mask=mask).logits.argmax(dim=1).numpy()
    return predicted


def seconds_of(model: Any, batches: Batches, count: int) -> float:
    """Seconds of `labeled`."""
    started = time.perf_counter()
    labeled(model, batches, count)
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    from chirplet.stage.run.parent import trainable
    from chirplet.system.hardware import cpu_cores, cpu_name

    warnings.filterwarnings("ignore")
    examples = [] if arguments.data is None else ["data=corona_nlp", f"data.dir={arguments.data.resolve()}"]
    labels, batches = evaluation_data(arguments.artifact, examples, 64 if arguments.quick else TEXTS)
    count, middle = len(labels), [batches[len(batches) // 2]]
    model = trainable(arguments.artifact)
    models, accuracy, failed, slow = {}, {}, {}, {}
    # The first runs allocate and compile.
    usual = [seconds_of(model, middle, count) for _ in range(3)][-1]
    for name, make in methods(model).items():
        try:
            built = make()
            times = [seconds_of(built, middle, count) for _ in range(2)][-1] / usual
            if times > SLOWEST:
                slow[name] = times
            else:
                accuracy[name] = float(
                    (labeled(built, batches, count) == labels).mean()
                )  # also compiles for every length
                models[name] = built
        except Exception as error:  # reported in the context
            failed[name] = f"{type(error).__name__}: {error}"[:300]
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(1 if arguments.quick else ROUNDS):
        for name, built in models.items():
            seconds[name].append(seconds_of(built, batches, count))
    speed = {name: count / statistics.median(times) for name, times in seconds.items()}
    figures: Figures = []
    for name in models:
        figures.append(figure(f"{name}: texts/s relative to fp32", speed[name] / speed["fp32"], "times"))
        figures.append(figure(f"{name}: drop on val", 100 * (accuracy["fp32"] - accuracy[name]), "points"))
    figures += [
        figure(f"{name}: texts/s of one batch relative to fp32", 1 / times, "times") for name, times in slow.items()
    ]
    context = {"cpu": cpu_name(), "threads": cpu_cores(), "texts_per_s": speed, "failed": failed, "texts": count}
    print(json.dumps({"figures": figures, "context": context | {"quick": arguments.quick}}))


if __name__ == "__main__":
    main()
