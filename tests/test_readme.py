"""The examples of the README work as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from forked import command
from places import CONF, ROOT, SAMPLE

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", TEXT, re.DOTALL))
FEW = ["trainer=debug", "stage.measure_cost=false", "logger=none", "callback=none"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """The code with the README's files added, the sample as tweets.csv, and a small checkpoint."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("src/chirplet/pruner", "conf/model", "conf/pruner"):
        (folder / name).mkdir(parents=True)
    for path, content in EXAMPLES.items():
        if path != "command":
            (folder / path).write_text(content, encoding="utf-8")
    tiny_bert(folder / "checkpoints" / "mine")
    (folder / "tweets.csv").write_bytes(SAMPLE.read_bytes())
    return folder


def run(checkout: Path, *overrides: str) -> str:
    """`run.py` with the README's files found as if they stood in the checkout; what it printed."""
    own = f"import chirplet.pruner; chirplet.pruner.__path__.append({str(checkout / 'src/chirplet/pruner')!r})"
    where = [f"hydra.searchpath=[file://{checkout}/conf]", f"cache_dir={checkout}/cache"]
    done = command(*overrides, *where, cwd=checkout, before=own)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_four_of_at_most_twenty_lines():
    assert len(EXAMPLES) == 4
    assert all(len(content.splitlines()) <= 20 for content in EXAMPLES.values())


def test_own_tweets_an_own_model_and_an_own_method(checkout):
    python, script, *overrides = shlex.split(EXAMPLES["command"])
    assert (python, script) == ("python", "run.py")
    own = [*overrides[1:], "model=mine", "model.max_length=40", *FEW]
    run(checkout, overrides[0], *own, "hydra.run.dir=own")
    record = Artifact.open(checkout / "own" / "artifact").record
    assert (record.lineage[0].name, record.cleaning, record.data.sizes["train"]) == ("mine", "twitter_roberta", 560)
    pruning = ["stage=prune", "artifact=own/artifact", "pruner=chance", "stage.recovery=none", "stage.curve=[]"]
    run(checkout, *own, *pruning, "hydra.run.dir=pruned")
    record = Artifact.open(checkout / "pruned" / "artifact").record
    assert record.method == "chance"
    assert record.training["pruning"]["reached"] == pytest.approx(0.5, abs=0.01)


def test_every_option_is_named():
    table = TEXT.partition("## What there is")[2].partition("## ")[0]
    for group in (
        "stage",
        "chain",
        "model",
        "data",
        "distiller",
        "task",
        "pruner",
        "quantizer",
        "trainer",
        "experiment",
        "search",
    ):
        row = next(line for line in table.splitlines() if line.startswith(f"| `{group}` |"))
        for path in (CONF / group).glob("[!_]*.yaml"):
            assert f"`{path.stem}`" in row, (group, path.stem)
