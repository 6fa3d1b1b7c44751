"""The original study at full size, offline: `python benchmarks/full_size.py --data DIR`.

DIR has the two Corona CSVs, of which 500 texts are used. The checkpoints have the sizes and the tokenizer formats of
BERTweet and Twitter-RoBERTa with random weights, so accuracies mean nothing: seconds and peak memory of each step are
measured. `--quick` uses 100 texts.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from chain import memory_of
from large_vocabulary import bertweet_tokenizer
from measuring import ROOT, Figures, figure

BYTE_BPE = 50_265
HEADING = re.compile(r"(\w+): \w+ .*\(\d+ of \d+\)")
"""Of a step of the chain."""


def write_bertweet(folder: Path, texts: list[str]) -> None:
    """`config.json` and the tokenizer files of vinai/bertweet-base."""
    from transformers import RobertaConfig

    bertweet_tokenizer(folder, texts)
    config = RobertaConfig(vocab_size=64_001, max_position_embeddings=130, type_vocab_size=1)
    config.update({"tokenizer_class": "BertweetTokenizer"})
    config.save_pretrained(folder)


def write_twitter_roberta(folder: Path, texts: list[str]) -> None:
    """`config.json` and the tokenizer files of cardiffnlp/twitter-roberta-base: byte-level BPE of 50,265 tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained = ByteLevelBPETokenizer()
    # More merges than these texts have pieces; the rest of the table is unused, as with BERTweet.
    trained.train_from_iterator(texts, vocab_size=BYTE_BPE - 1, special_tokens=special, show_progress=False)
    trained.add_tokens(["<mask>"])
    trained.save_model(str(folder))
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = RobertaConfig(vocab_size=BYTE_BPE, max_position_embeddings=514, type_vocab_size=1)
    config.save_pretrained(folder)


WRITERS = {"bertweet": write_bertweet, "twitter_roberta": write_twitter_roberta}


def part_of(data: Path, folder: Path, texts: int) -> list[str]:
    """Write the first texts of both CSVs, four fifths of them for training. Returns the training texts."""
    folder.mkdir()
    for name, count in (("Corona_NLP_train.csv", texts * 4 // 5), ("Corona_NLP_test.csv", texts // 5)):
        with (data / name).open(newline="", encoding="latin-1") as file:
            rows = list(islice(csv.reader(file), count + 1))
        with (folder / name).open("w", newline="", encoding="latin-1") as file:
            csv.writer(file).writerows(rows)
    with (folder / "Corona_NLP_train.csv").open(newline="", encoding="latin-1") as file:
        return [row["OriginalTweet"] for row in csv.DictReader(file)]


def study(overrides: list[str]) -> list[tuple[str, float, float]]:
    """Run the chain. Returns each step's name, seconds and peak memory in GB; the last one's include the comparison."""
    process = psutil.Popen([sys.executable, "-u", "run.py", *overrides], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    steps: list[list[Any]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            if steps:
                steps[-1][2] = max(steps[-1][2], memory_of(process) / 1e9)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for line in process.stdout:
        print(line, end="", file=sys.stderr)
        heading = HEADING.match(line)
        if heading is not None:
            steps.append([heading[1], time.perf_counter(), 0.0])
    done.set()
    watcher.join()
    if process.wait() != 0:
        raise SystemExit(f"run.py {' '.join(overrides)}: exit {process.returncode}")
    ends = [start for _, start, _ in steps[1:]] + [time.perf_counter()]
    return [(name, end - start, peak) for (name, start, peak), end in zip(steps, ends, strict=True)]


def measured(model: str, data: Path, texts: int) -> Figures:
    """The figures of the study with one model."""
    experiment = "original_study" if model == "twitter_roberta" else "original_study_bertweet"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = part_of(data, folder / "data", texts)
        checkpoint = folder / model
        checkpoint.mkdir()
        WRITERS[model](checkpoint, written)
        small = {"layers": 4, "hidden_size": 256, "heads": 4, "intermediate_size": 1024}
        steps = study(
            [
                f"experiment={experiment}",
                f"data.dir={folder / 'data'}",
                f"model.name_or_path={checkpoint}",
                "model.pretrained=false",
                f"student.name_or_path={checkpoint}",
                "student.pretrained=false",
                *(f"student.shape.{key}={size}" for key, size in small.items()),
                "chain.settings.epochs=2",
                "chain.settings.student_epochs=2",
                f"cache_dir={folder / 'cache'}",
                f"hydra.run.dir={folder / 'out'}",
                "logger=none",
            ]
        )
    figures = []
    for step, seconds, peak in steps:
        figures.append(figure(f"{model}, {step}", seconds, "s"))
        figures.append(figure(f"{model}, {step}, peak memory", peak, "GB", at_most=10.0))
    return figures


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the two Corona CSVs")
    parser.add_argument("--model", choices=WRITERS, action="append", help="default: both")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    from chirplet.system.hardware import cpu_cores, cpu_name

    texts = 100 if arguments.quick else 500
    figures = [one for model in arguments.model or WRITERS for one in measured(model, arguments.data.resolve(), texts)]
    context = {"cpu": cpu_name(), "cores": cpu_cores(), "texts": texts, "weights": "random", "quick": arguments.quick}
    print(json.dumps({"figures": figures, "context": context}))


if __name__ == "__main__":
    main()
