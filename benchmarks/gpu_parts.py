"""The parts of `gpu.py`: each measures, and adds its figures."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gpu_bench import MODELS, Bench, Results
from gpu_inference import inference_figures
from gpu_ways import TRAINERS, on_gpu
from measuring import figure

STEPS = {32: (100, 300), 256: (50, 100)}
"""By batch size: steps before those that are timed, and timed steps."""
COMPILED = "bf16, compiled"


def training(bench: Bench) -> None:
    """The rates of all ways on both models."""
    sizes = [32] if bench.quick else list(STEPS)
    for name in MODELS:
        model = bench.model(name)
        orders, final = {}, "stage.final=true"
        for size in sizes:
            batch, steps = f"stage.batch_size={size}", STEPS[size]
            orders[f"chirplet, batch {size}"] = bench.order(
                "chirplet", *model, batch, final, *bench.graphs, steps=steps
            )
            orders[f"bare loop, batch {size}"] = bench.order("loop", *model, batch, steps=steps)
        slow = bench.order("chirplet", *model, "trainer.cuda_graphs=false", final, steps=(50, 100))
        orders["chirplet without graphs, batch 32"] = slow
        rows = bench.measured({f"{name}, {way}": order for way, order in orders.items()})
        ours = rows[f"{name}, chirplet, batch 32"]
        trainers = [settings for settings in TRAINERS if settings != COMPILED][: None if name == "MiniLM" else 2]
        asked = {f"{name}, Trainer, {each}": bench.order("trainer", *model, steps=(50, 100), settings=each)
                 for each in trainers[: 2 if bench.quick else None]}  # fmt: skip
        anchors = bench.measured(asked)
        for way, results in (rows | anchors).items():
            bench.add(way, results)
            if on_gpu():
                bench.add(f"{way}, peak memory", results, "peak_mb", "MB")
        bench.add_ratio(f"{name}, chirplet / bare loop", ours, rows[f"{name}, bare loop, batch 32"], 0.9)
        best = max(anchors.values(), key=lambda results: results.get("texts_per_s", 0.0))
        if name == "MiniLM":
            bench.add_ratio(f"{name}, chirplet / the best Trainer", ours, best, 4.0)
            bench.add_ratio(f"{name}, chirplet / Trainer's defaults", ours, anchors[f"{name}, Trainer, defaults"], 10.0)


def compiled(bench: Bench) -> None:
    """The rate of the Trainer with `torch.compile`, which takes a minute to start; many on a CPU."""
    if bench.quick:
        return
    name = f"MiniLM, Trainer, {COMPILED}"
    results = bench.measured({name: bench.order("trainer", steps=(50, 100), settings=COMPILED)})[name]
    bench.add(name, results)
    if ours := bench.rows.get("MiniLM, chirplet, batch 32"):
        bench.add_ratio("MiniLM, chirplet / compiled Trainer", ours, results, 4.0)


def waits(bench: Bench) -> None:
    """Operations that wait for the device between two logged steps."""
    log = ["trainer.log_every_n_steps=50", "stage.final=true"]
    order = bench.order("chirplet", *bench.graphs, *log, steps=(200, 200), strict=True)
    results = bench.measured({"waits": order})["waits"]
    found = results.get("waits", -1)
    added = figure("operations that wait for the device in 200 steps", found, "operations", at_most=0)
    bench.figures.append(added | {"holds": found == 0})


def resumed(bench: Bench) -> None:
    """The same run twice, and once interrupted in its middle and resumed: how many have the first run's weights."""
    common = [*bench.graphs, "deterministic=true", "model.dropout=0.1", "stage.final=true"]
    folder = {name: str(bench.folder / name) for name in ("once", "twice", "halted")}
    orders = {name: bench.order("chirplet", *common, folder=folder[name], steps=(50, 250)) for name in folder}
    total = orders["halted"]["skipped"] + orders["halted"]["steps"]
    half = total // 2

    def halted_and_resumed() -> Results:
        first = bench.measured({"halted": orders["halted"] | {"halt": half}})["halted"]
        results = bench.measured({"resumed": orders["halted"]})["resumed"]
        steps = [each.get("steps") for each in (first, results)]
        if steps != [half, total - half]:
            raise RuntimeError(f"halted and resumed: {steps} steps, not {half} of {total}")
        return results

    with ThreadPoolExecutor(3) as pool:  # bits do not depend on what else the device does
        once, twice = (pool.submit(bench.measured, {name: orders[name]}) for name in ("once", "twice"))
        found = [pool.submit(halted_and_resumed).result(), twice.result()["twice"]]
    weights = once.result()["once"].get("weights")
    same = sum(results.get("weights") == weights is not None for results in found)
    bench.figures.append(figure("runs with the first run's weights: again, and resumed", same, "of 2", at_least=2))


def inferred(bench: Bench) -> None:
    """The rates of inference on both models."""
    for name in MODELS:
        row = f"{name}, inference"
        order = bench.order("inference", *bench.model(name)) | {"steps": 1 if bench.quick else 64}
        bench.figures += inference_figures(name, bench.measured({row: order})[row])


def compressed(bench: Bench) -> None:
    """One distillation, pruning and quantization-aware training of one teacher."""
    folder = bench.folder / "teacher"
    from_teacher = [f"artifact={folder / 'artifact'}"]
    prune = ["stage=prune", "pruner.schedule=cubic", "stage.curve=[]", *from_teacher, *bench.graphs]
    qat = ["stage=quantize", "quantizer=qat", "stage.tolerance=null", "stage.sensitivity_texts=0", *from_teacher]
    distil = ["stage=distill", "distiller=logits", "model@student=minilm", "stage.label_only_baseline=false"]
    distil += [f"teacher={folder / 'artifact'}"]
    orders = {
        "teacher": bench.order("chirplet", *bench.graphs, folder=str(folder)),
        "student": bench.order("chirplet", *distil, *bench.graphs, folder=str(bench.folder / "student")),
        "pruned": bench.order("chirplet", *prune, folder=str(bench.folder / "pruned")),
        "rounded": bench.order("chirplet", *qat, steps=(20, 50), folder=str(bench.folder / "rounded")),
    }
    rows = bench.measured(orders)
    for name, results in rows.items():
        bench.add(f"{name}, training steps", results)
    bench.add_ratio("distillation with cached logits / fine-tuning", rows["student"], rows["teacher"], 0.9)


def search(bench: Bench) -> None:
    """Seconds of a search with two workers on one device."""
    sweep = ["-m", "stage=finetune", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"]
    sweep += ["hydra.sweeper.share_gpus=true", "+hydra.sweeper.params={stage.learning_rate:'interval(1e-5,1e-4)'}"]
    short = ["trainer=debug", "logger=none", "stage.evaluate_train=false", "stage.evaluate_test=false"]
    short += ["stage.measure_cost=false", *bench.graphs, f"hydra.sweep.dir={bench.folder / 'sweep'}"]
    bench.figures.append(figure("search of two trials with two workers on one device", bench.run(*sweep, *short), "s"))


def whole(bench: Bench) -> None:
    """Seconds from the two CSVs to the artifact, without a cache."""
    if bench.corona is None:
        return
    output = bench.folder / "whole"
    overrides = ["experiment=corona_minilm", "logger=none", f"cache_dir={bench.folder / 'empty'}"]
    seconds = bench.run(f"hydra.run.dir={output}", *overrides, *(["trainer=debug"] if bench.quick else []))
    record = json.loads((output / "artifact" / "artifact.json").read_text(encoding="utf-8"))
    name = "experiment=corona_minilm from the CSVs to the artifact"
    bench.figures.append(figure(name, seconds, "s", at_most=45.0))
    bench.figures.append(figure("its test accuracy", record["metrics"]["test"]["accuracy"], "share"))


PARTS: dict[str, Callable[[Bench], None]] = {
    "training": training,
    "waits": waits,
    "resumed": resumed,
    "whole": whole,
    "inference": inferred,
    "compressed": compressed,
    "search": search,
    "compiled": compiled,
}
"""By importance, since the time may end."""
