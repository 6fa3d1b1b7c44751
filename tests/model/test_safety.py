import re
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))
# A worker comes by cloudpickle from the process that started it, through a pipe; no file is read so.
UNSAFE = re.compile(
    r"trust_remote_code\s*=\s*True|^\s*(import|from) pickle|(?<!cloud)pickle\.loads?\(|weights_only\s*=\s*False"
    r"|torch\.load\((?!.*weights_only=True)",
    re.MULTILINE,
)


def test_the_pattern_finds_what_it_should() -> None:
    for line in ("f(trust_remote_code=True)", "import pickle", "torch.load(path)", "f(weights_only = False)"):
        assert UNSAFE.search(line)
    assert not UNSAFE.search("torch.load(path, weights_only=True)")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_remote_code_and_no_pickle(path: Path) -> None:
    assert not UNSAFE.search(path.read_text(encoding="utf-8"))
