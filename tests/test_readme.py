"""The examples of the README work, and README and manual name only existing keys and files."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from forked import command
from places import CONF, ROOT, SAMPLE

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", TEXT, re.DOTALL))
FEW = ["trainer=debug", "stage.measure_cost=false", "logger=none", "callback=none"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """The code with the README's files added, the sample as texts.csv, and a small checkpoint."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("src/chirplet/pruner", "conf/model", "conf/pruner"):
        (folder / name).mkdir(parents=True)
    for path, content in EXAMPLES.items():
        if path != "command":
            (folder / path).write_text(content, encoding="utf-8")
    tiny_bert(folder / "checkpoints" / "mine")
    (folder / "texts.csv").write_bytes(SAMPLE.read_bytes())
    return folder


def run(checkout: Path, *overrides: str) -> str:
    """Run `run.py` with the README's files as part of the checkout; returns its output."""
    own = f"import chirplet.pruner; chirplet.pruner.__path__.append({str(checkout / 'src/chirplet/pruner')!r})"
    where = [f"hydra.searchpath=[file://{checkout}/conf]", f"cache_dir={checkout}/cache"]
    done = command(*overrides, *where, cwd=checkout, before=own)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_is_short():
    assert len(TEXT.splitlines()) <= 250


def test_there_are_four_of_at_most_twenty_lines():
    assert len(EXAMPLES) == 4
    assert all(len(content.splitlines()) <= 20 for content in EXAMPLES.values())


def test_user_texts_a_user_model_and_a_user_method(checkout):
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
    table = TEXT.partition("## Options")[2].partition("## ")[0]
    for group in (
        "task",
        "callback",
        "logger",
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


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in {"hydra", "experiment"})


def keys_below(values: object, prefix: str) -> set[str]:
    """Every dotted key in nested mappings, including those of mappings."""
    if not isinstance(values, dict):
        return set()
    return {f"{prefix}{key}" for key in values}.union(
        *(keys_below(value, f"{prefix}{key}.") for key, value in values.items())
    )


def known_keys() -> set[str]:
    keys = keys_below(yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8")), "")
    for group in {*GROUPS} - {"search"}:
        for path in (CONF / group).glob("*.yaml"):
            keys |= keys_below(yaml.safe_load(path.read_text(encoding="utf-8")), f"{group}.")
    table = yaml.safe_load((CONF / "data" / "_table.yaml").read_text(encoding="utf-8"))
    keys |= keys_below(table, "stage.") | keys_below(table, "stage.unlabeled.")
    sweeper = CONF / "hydra" / "sweeper" / "optuna.yaml"
    keys |= keys_below(yaml.safe_load(sweeper.read_text(encoding="utf-8")), "hydra.sweeper.")
    return keys | {key.replace("model.", "student.", 1) for key in keys if key.startswith("model.")}


def code_of(page: Path) -> str:
    """Code blocks and code spans of a page."""
    text = page.read_text(encoding="utf-8").replace("stage.learnin_rate", "")
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@every_page
def test_keys_exist(page):
    code, sections = code_of(page), "|".join([*GROUPS, "student", r"hydra\.sweeper"])
    files = {"model.onnx", "model.safetensors"}
    named = set(re.findall(rf"(?<![\w./-])((?:{sections})(?:\.[a-z_0-9]+)+)(?![\w/.])", code)) - files
    named |= set(re.findall(r"(?:run\.py |DIR |`)([a-z_]+)=", code))
    assert sorted(named - known_keys() - {*GROUPS, "experiment"}) == []


@every_page
def test_options_exist(page):
    chosen = re.findall(r"(?<![\w./@-])(\w+(?:/\w+)*)(?:@\w+)?=([a-z]\w*)(?![\w(./])", code_of(page))
    options = {f"{group}/{name}" for group, name in chosen if group in {*GROUPS, "experiment", "hydra/sweeper/pruner"}}
    own = {"model/mine", "pruner/chance", "experiment/tuned"}
    assert sorted(option for option in options - own if not (CONF / f"{option}.yaml").is_file()) == []


@every_page
def test_links_and_paths_exist(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, heading = link.partition("#")
        if "://" not in link:
            target = page.parent / file if file else page
            assert target.exists(), link
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE) if heading else [""]
            assert heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, link
    paths = re.findall(r"`(?:python )?((?:src|tests|conf|benchmarks|docs|\.ci)/[\w./-]+)[^`\n]*`", text)
    own = {"conf/model/mine.yaml", "conf/GROUP/NAME.yaml", "src/chirplet/GROUP/NAME.py", "conf/chain/NAME.yaml"}
    assert [path for path in paths if path not in own and not (ROOT / path).exists()] == []
