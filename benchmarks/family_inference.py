"""Speed and agreement of one family's int8 with fp32: 12 layers, 384 wide, from random weights, briefly tuned.

No pretrained weights of most families are installed, so the weights are random before the tuning. Speed does not depend
on them; how many labels survive the rounding may.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from family_checkpoint import write_checkpoint
from measuring import Figures, figure
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact
from chirplet.data.batching.tokens import Tokens, tokenize
from chirplet.evaluation.cost import Timed, count_bytes, time_interleaved
from chirplet.evaluation.isolated_process import BATCH_SIZE, logits_of
from chirplet.runtime.base import predict_logits
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system.hardware import cpu_cores

TUNED = ("trainer.max_epochs=1", "stage.learning_rate=3e-4", "stage.evaluate_train=false", "stage.measure_cost=false")
ROUNDED = (
    "stage.tolerance=null",
    "stage.sensitivity_texts=0",
    "stage.measure_cost=false",
    "stage.evaluate_train=false",
)
"""All layers are rounded: none is excluded to reach a tolerance."""


def of_family(
    model_type: str, data: list[str], texts: list[str], run: Callable[..., Any], rounds: int
) -> tuple[Figures, dict[str, Any]]:
    """Tune, quantize and compare a model of a `model_type`.

    Args:
        model_type: of transformers.
        data: overrides of the data.
        texts: of the test split.
        run: runs `run.py` with overrides.
        rounds: of the timing.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        checkpoint = write_checkpoint(scratch / model_type, model_type)
        model = ("model=local", f"model.name_or_path={checkpoint}", "model.cleaning=twitter_roberta")
        parent, int8, graph = scratch / "parent" / "artifact", scratch / "int8" / "artifact", scratch / "graph"
        run("stage=finetune", *data, *model, *TUNED, f"hydra.run.dir={parent.parent}")
        quantized = ("stage=quantize", f"artifact={parent}", "quantizer=onnx_int8", *ROUNDED)
        run(*quantized, *data, f"hydra.run.dir={int8.parent}")
        record = Artifact.open(parent).record
        tokenizer, pad_id = open_tokenizer(parent, record.max_length)
        tokens = tokenize(texts, tokenizer, record.cleaning, record.max_length)
        distance = graph_distance(parent, graph, tokens, pad_id)
        timed = [Timed(one, tokens, pad_id) for one in (parent, graph, int8)]
        rates = [one["texts_per_s"] for one in time_interleaved(timed, cpu_cores(), rounds)]
        fp32, rounded = (labels(one, tokens, pad_id) for one in (parent, int8))
        share = float((fp32 == rounded).mean())
        size = count_bytes(int8)["bytes_on_disk"] / count_bytes(parent)["bytes_on_disk"]
        context = {
            "weights": "random, then tuned for one epoch",
            "texts_per_s": dict(zip(("fp32", "fp32 graph", "int8"), rates, strict=True)),
            "labels_of_fp32": {str(label): count for label, count in Counter(fp32.tolist()).items()},
            "test_accuracy_of_fp32": record.metrics["test"]["accuracy"],
            "versions": record.versions,
            "data": record.data.source,
            "seeds": [record.seed],
        }
    return [
        figure(f"{model_type}: int8, texts/s", rates[2] / rates[0], "times PyTorch fp32's", at_least=2.5),
        figure(f"{model_type}: fp32 graph, texts/s", rates[1] / rates[0], "times PyTorch fp32's"),
        figure(f"{model_type}: int8, labels that fp32 gives", share, "of the test texts", at_least=0.98),
        figure(
            f"{model_type}: fp32 graph, largest distance of a logit", 1e6 * distance, "1e-6 of a logit", at_most=100
        ),
        figure(f"{model_type}: int8, bytes", size, "of fp32's"),
    ], context


def graph_distance(parent: Path, graph: Path, tokens: Tokens, pad_id: int) -> float:
    """Write the fp32 graph into a folder; its largest distance from PyTorch's logits in fp32.

    The texts, and two random ones of the model's longest input, with which the first is padded.
    """
    from chirplet.model.family import family_of
    from chirplet.quantizer.graph.arithmetic import Arithmetic
    from chirplet.quantizer.graph.of_model import graph_of
    from chirplet.runtime.onnxruntime import MODEL, OnnxRuntime
    from chirplet.runtime.pytorch import PyTorchRuntime, load_model

    model = load_model(parent).eval()
    graph.mkdir()
    onnx.save(graph_of(model).build(Arithmetic(), {}), graph / MODEL)
    model.config.save_pretrained(graph)
    longest = family_of(model).longest_input(model.config)
    random = np.random.default_rng(0)
    rows = [random.integers(1000, 2000, count).astype(np.int32) for count in (longest, longest - longest // 3)]
    long = Tokens(np.concatenate(rows), np.array([0, longest, sum(map(len, rows))]))
    exact, exported = PyTorchRuntime(model), OnnxRuntime(graph, cpu_cores())
    differences = [
        np.abs(predict_logits(exported, one, pad_id, BATCH_SIZE) - predict_logits(exact, one, pad_id, BATCH_SIZE)).max()
        for one in (tokens, long)
    ]
    return float(max(differences))


def labels(folder: Path, tokens: Tokens, pad_id: int) -> NDArray[np.int64]:
    """The labels of a saved model in the precision of its weights."""
    logits = logits_of(folder, {"test": tokens}, pad_id, BATCH_SIZE, cpu_cores(), "stored")["test"]
    numbers: NDArray[np.int64] = logits.argmax(axis=1)
    return numbers
