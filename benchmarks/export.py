"""Other programs that open an artifact: transformers.js in Node and `transformers.pipeline`, on raw texts.

`python benchmarks/export.py --data DIR` reads the Corona texts in DIR as they are in the file, unrepaired; without it
`vader_tweets`. It compares the token ids of all train texts, cleaned in the tokenizer, with those of Python's cleaning
(`tests/cleaning_in_python.py`). Then it fine-tunes a MiniLM on `vader_tweets`, quantizes it to `onnx_int8`, exports it,
and labels 400 texts one at a time in Node and with `chirplet.load`. `--artifact DIR` exports another artifact.
`--folder DIR` keeps runs and npm's packages (475 MB; they are never put into the repository). `--quick` trains a few
steps, so that all texts may have one label.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measuring import ROOT, Figures, Kept, figure
from tokenizers import Tokenizer

import chirplet
from chirplet.data.preparation.normalizers import Cleaning, clean_inside
from chirplet.data.vader_tweets import VaderTweets
from chirplet.system.hardware import cpu_name

sys.path.append(str(ROOT / "tests"))
from cleaning_in_python import IN_PYTHON  # type: ignore[import-not-found]

TEXTS = 400
PRESETS: tuple[Cleaning, ...] = ("twitter_roberta", "original_study")
PACKAGE = "@huggingface/transformers"


def raw_texts(data: Path | None, cache: Path) -> list[str]:
    """The texts of the Corona train file, as latin-1 reads them, or of `vader_tweets`, from the cache."""
    if data is not None:
        with (data / "Corona_NLP_train.csv").open(encoding="latin-1", newline="") as file:
            return [row["OriginalTweet"] for row in csv.DictReader(file)]
    settings: dict[str, Any] = {"classes": 5, "cuts": None, "sdist": None}
    source = VaderTweets.model_construct(**settings)
    return [row.text for row in source.read(source.files(cache)).splits["train"]]


def same_ids(file: Path, texts: list[str]) -> Figures:
    """How many texts get other token ids when the tokenizer in `file` cleans, and what either takes."""
    figures = []
    for preset in PRESETS:
        plain, cleaning = (Tokenizer.from_file(str(file)) for _ in range(2))
        for tokenizer in (plain, cleaning):
            tokenizer.no_truncation()
        clean_inside(SimpleNamespace(backend_tokenizer=plain), "none")
        clean_inside(SimpleNamespace(backend_tokenizer=cleaning), preset)
        cleaned, seconds_cleaning = timed(partial(list, map(IN_PYTHON[preset], texts)))
        expected, seconds_plain = timed(partial(plain.encode_batch_fast, cleaned))
        found, seconds_inside = timed(partial(cleaning.encode_batch_fast, texts))
        different = sum(one.ids != other.ids for one, other in zip(expected, found, strict=True))
        figures += [
            figure(
                f"{preset}: texts of {len(texts):,} with other ids than after Python", different, "texts", at_most=0
            ),
            figure(
                f"{preset}: cleaned in Python, then tokenized",
                (seconds_cleaning + seconds_plain) / len(texts) * 1e6,
                "µs/text",
            ),
            figure(f"{preset}: cleaned by the tokenizer", seconds_inside / len(texts) * 1e6, "µs/text"),
        ]
    return figures


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the seconds that it took."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def installed(folder: Path) -> Path:
    """A folder with transformers.js from npm, whose install scripts are not run."""
    if not (folder / "node_modules" / PACKAGE).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        subprocess.run(["npm", "install", "--ignore-scripts", PACKAGE], cwd=folder, stdout=sys.stderr, check=True)
    shutil.copy(ROOT / "benchmarks" / "export.mjs", folder / "export.mjs")
    return folder


def in_node(npm: Path, exported: Path, texts: list[str]) -> dict[str, Any]:
    """The token ids, labels and scores of texts in Node, and the seconds of the labels."""
    command = ["node", "export.mjs", str(exported)]
    done = subprocess.run(command, cwd=npm, input=json.dumps(texts), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(artifact: Path, node: dict[str, Any], texts: list[str]) -> Figures:
    """Node's ids and labels compared with those of `chirplet.load`, one text at a time."""
    predictor = chirplet.load(artifact, batch_size=1)
    ids = labels = 0
    furthest, seconds, seen = 0.0, 0.0, set()
    for text, row in zip(texts, node["rows"], strict=True):
        found, took = timed(partial(predictor, [text]))
        seconds += took
        ids += row["ids"] != predictor.tokens([text])[0].tolist()
        labels += row["scores"][0]["label"] != found.labels[0]
        scores = {one["label"]: one["score"] for one in row["scores"]}
        there = zip(predictor.labels, found.probabilities[0], strict=True)
        furthest = max(furthest, *(abs(scores[label] - value) for label, value in there))
        seen.add(found.labels[0])
    return [
        figure(f"Node: texts of {len(texts)} with other ids", ids, "texts", at_most=0),
        figure(f"Node: texts of {len(texts)} with other labels", labels, "texts", at_most=0),
        figure("labels that occur", len(seen), "labels"),
        figure("largest difference of a probability", furthest, ""),
        figure("a text in Node", node["seconds"] / len(texts) * 1e3, "ms"),
        figure("a text with chirplet.load", seconds / len(texts) * 1e3, "ms"),
    ]


def in_transformers(artifact: Path, texts: list[str]) -> Figures:
    """`transformers.pipeline` compared with `chirplet.load`, both in fp32, on the artifact before quantization."""
    from transformers import pipeline

    from chirplet.artifact.artifact import Artifact
    from chirplet.runtime.predictor import Predictor

    opened = Artifact.open(artifact)
    predictor = Predictor.open(opened, batch_size=1, accelerator="cpu", threads=None, precision="32-true")
    alone = pipeline("text-classification", str(artifact), truncation=True, max_length=opened.record.max_length)
    other = sum(row["label"] != label for row, label in zip(alone(texts), predictor(texts).labels, strict=True))
    return [figure(f"transformers.pipeline: texts of {len(texts)} with other labels", other, "texts", at_most=0)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the Corona files")
    parser.add_argument("--artifact", type=Path, help="an artifact for ONNX Runtime to export")
    parser.add_argument("--folder", type=Path, help="keeps runs and npm's packages")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.folder or Path(scratch)).resolve()
        if folder.is_relative_to(ROOT):
            raise SystemExit(f"--folder: got {str(folder)!r}, should be outside the repository")
        runs, figures = Kept(folder), Figures()
        short = ["trainer=debug"] if args.quick else []
        plain = ["stage.tolerance=null", "stage.sensitivity_texts=0", "stage.measure_cost=false"]
        artifact = args.artifact
        everything = raw_texts(args.data, folder / "cache")
        texts = everything[:: max(1, len(everything) // TEXTS)][:TEXTS]
        if artifact is None:
            teacher = runs.run("finetune", "stage=finetune", "data=vader_tweets", *short, plain[-1]) / "artifact"
            artifact = runs.run("int8", "stage=quantize", f"artifact={teacher}", *plain) / "artifact"
            figures += in_transformers(teacher, texts)
        exported = runs.run("export", "stage=export", f"artifact={artifact.resolve()}") / "transformers_js"
        figures += same_ids(artifact / "tokenizer.json", everything)
        node = in_node(installed(folder / "npm"), exported, texts)
        figures += compared(artifact, node, texts)
    versions = {name: version(name) for name in ("tokenizers", "transformers", "onnxruntime")}
    context = {"cpu": cpu_name(), "texts": len(texts), "data": "corona_nlp" if args.data else "vader_tweets"}
    context |= {"versions": versions | {"transformers.js": node["version"], "node": node["node"]}}
    print(json.dumps({"figures": figures, "context": context}, ensure_ascii=False))


if __name__ == "__main__":
    main()
