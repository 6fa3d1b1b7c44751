"""Whether torchao's int8 and int4 are worth offering on this CPU: speed and accuracy beside PyTorch's fp32.

`python benchmarks/other_int8.py ARTIFACT [--data DIR]` needs `pip install torchao`, which chirplet does not depend on.
Each way is timed on the same validation texts in length order, interleaved, in this process. Int8 is tried as it is and
compiled (freezing on, without which it computes no integers), int4 as weights alone, in groups of 32.
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
"""Times fp32's seconds for one batch: what is slower is told by that alone."""


def ways(model: Any) -> dict[str, Callable[[], Any]]:
    """What makes a model of each kind, by name."""
    import torch
    from torch._inductor import config
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    config.freezing = True

    def int8() -> Any:
        own = deepcopy(model)
        quantize_(own, Int8DynamicActivationInt8WeightConfig())
        return own

    def int4() -> Any:
        own = deepcopy(model)
        quantize_(own, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)))  # type: ignore[attr-defined]
        return own

    return {
        "fp32": lambda: model,
        "fp32, compiled": lambda: torch.compile(deepcopy(model), dynamic=True),
        "torchao int8": int8,
        "torchao int8, compiled": lambda: torch.compile(int8(), dynamic=True),
        "torchao int4 weights": int4,
    }


Batches = list[tuple[list[int], Any, Any]]
"""Positions, token ids and attention mask of each."""


def judged_on(folder: Path, examples: list[str], count: int) -> tuple[NDArray[np.int64], Batches]:
    """Labels of so many of an artifact's validation texts, and the texts in batches of like lengths."""
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
    """What a model takes each of `count` texts for; those that are in no batch for nothing, -1."""
    import torch

    found = np.full(count, -1, np.int64)
    with torch.inference_mode():
        for positions, ids, mask in batches:
            found[positions] = model(input_ids=ids, attention_mask=mask).logits.argmax(dim=1).numpy()
    return found


def seconds_of(model: Any, batches: Batches, count: int) -> float:
    """How long that takes."""
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
    right, batches = judged_on(arguments.artifact, examples, 64 if arguments.quick else TEXTS)
    count, middle = len(right), [batches[len(batches) // 2]]
    model = trainable(arguments.artifact)
    models, accuracy, failed, slow = {}, {}, {}, {}
    # The first times prepare, and compile.
    usual = [seconds_of(model, middle, count) for _ in range(3)][-1]
    for name, make in ways(model).items():
        try:
            own = make()
            times = [seconds_of(own, middle, count) for _ in range(2)][-1] / usual
            if times > SLOWEST:
                slow[name] = times
            else:
                accuracy[name] = float((labeled(own, batches, count) == right).mean())  # prepares for every length
                models[name] = own
        except Exception as error:  # what does not run here is told, with its reason
            failed[name] = f"{type(error).__name__}: {error}"[:300]
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(1 if arguments.quick else ROUNDS):
        for name, own in models.items():
            seconds[name].append(seconds_of(own, batches, count))
    speed = {name: count / statistics.median(times) for name, times in seconds.items()}
    figures: Figures = []
    for name in models:
        figures.append(figure(f"{name}: texts/s, of fp32's", speed[name] / speed["fp32"], "times"))
        figures.append(figure(f"{name}: drop on val", 100 * (accuracy["fp32"] - accuracy[name]), "points"))
    figures += [figure(f"{name}: texts/s of one batch, of fp32's", 1 / times, "times") for name, times in slow.items()]
    context = {"cpu": cpu_name(), "threads": cpu_cores(), "texts_per_s": speed, "failed": failed, "texts": count}
    print(json.dumps({"figures": figures, "context": context | {"quick": arguments.quick}}))


if __name__ == "__main__":
    main()
