"""No code of a checkpoint is trusted, no pickle is opened, no archive is unpacked as it wants: read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), ROOT / "run.py"])
MODULES = {"pickle", "_pickle", "dill", "joblib", "shelve", "marshal"}
"""Not cloudpickle: a sweep's worker comes by it through a pipe, from who started it; no file is read so."""
CALLS = {
    "eval",
    "exec",
    "extractall",
    "extract",
    "unpack_archive",
    "read_pickle",
    "unsafe_load",
    "os.system",
    "os.popen",
}
CALLS |= {"torch.jit.load", "torch.hub.load", "yaml.load", "jit.load", "hub.load"}
AUTO = ("AutoConfig", "AutoModel", "AutoTokenizer")


def faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {name.name}" for name in node.names if name.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"from {node.module} import"
        elif isinstance(node, ast.Call):
            yield from call_faults(ast.unparse(node.func), {word.arg: word.value for word in node.keywords})
        elif isinstance(node, ast.Dict):
            yield from (
                f"{key.value}: {ast.unparse(value)}"
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value in {"trust_remote_code", "weights_only", "allow_pickle"}
            )


def call_faults(name: str, given: dict[str | None, ast.expr]) -> Iterator[str]:
    def is_constant(keyword: str, value: bool) -> bool:
        got = given.get(keyword)
        return isinstance(got, ast.Constant) and got.value is value

    last = name.rpartition(".")[2]
    if name in CALLS or last in CALLS:
        yield f"{name}()"
    for keyword, safe in {"trust_remote_code": False, "weights_only": True, "allow_pickle": False}.items():
        if keyword in given and not is_constant(keyword, safe):
            yield f"{name}({keyword}=...)"
    loads = name == "torch.load" or last == "load_from_checkpoint" or "ckpt_path" in given
    if loads and not is_constant("weights_only", True):
        yield f"{name}() without weights_only=True"
    if (
        last in {"from_pretrained", "from_config"}
        and name.startswith(AUTO)
        and not is_constant("trust_remote_code", False)
    ):
        yield f"{name}() without trust_remote_code=False"
    if last == "from_pretrained" and name.startswith("AutoModel") and not is_constant("use_safetensors", True):
        yield f"{name}() without use_safetensors=True"
    if "shell" in given and not is_constant("shell", False):
        yield f"{name}(shell=...)"


@pytest.mark.parametrize(
    "line",
    [
        "f(trust_remote_code=True)",
        "f(trust_remote_code=trusted)",
        "f(**{'trust_remote_code': True})",
        "import pickle",
        "import pickle as p",
        "from _pickle import loads",
        "torch.load(path)",
        "torch.load(\n    path,\n    weights_only=False,\n)",
        "torch.load(path, weights_only=not True)",
        "Module.load_from_checkpoint(path)",
        "trainer.fit(module, ckpt_path=path)",
        "AutoTokenizer.from_pretrained(x)",
        "AutoModelForSequenceClassification.from_pretrained(x, trust_remote_code=False)",
        "numpy.load(x, allow_pickle=True)",
        "archive.extractall(folder)",
        "yaml.load(text, Loader)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
    ],
)
def test_unsafe_code_is_detected(line: str) -> None:
    assert list(faults(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, weights_only=True)",
        "model.eval()",
        "AutoConfig.from_pretrained(x, trust_remote_code=False)",
        "import cloudpickle",
        "trainer.fit(module, ckpt_path=path, weights_only=True)",
    ],
)
def test_what_is_safe_passes(line: str) -> None:
    assert not [fault for fault in faults(ast.parse(line)) if fault != "model.eval()"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_remote_code_no_pickle_no_unpacking(path: Path) -> None:
    actual = [fault for fault in faults(ast.parse(path.read_text(encoding="utf-8"))) if not fault.endswith(".eval()")]
    assert actual == []
