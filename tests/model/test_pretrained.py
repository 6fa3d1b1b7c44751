import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chirplet.config.schema import bind, validate
from chirplet.model.pretrained import Pretrained
from chirplet.system.error import ConfigError

CONF = Path(__file__).parents[2] / "conf"
FIELDS: dict[str, Any] = {
    "name_or_path": "bundled",
    "revision": None,
    "pretrained": True,
    "cleaning": "none",
    "max_length": 128,
    "dropout": 0.0,
    "classifier_dropout": 0.1,
    "attention": "eager",
}


def fault(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(Pretrained, FIELDS | changes, "model")
    return str(caught.value)


def composed(name: str, *overrides: str) -> Pretrained:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(config_name=f"model/{name}", overrides=list(overrides))
    settings = bind(OmegaConf.to_container(config.model, resolve=True), "model")
    assert isinstance(settings, Pretrained)
    return settings


@pytest.mark.parametrize(
    ("name", "checkpoint", "cleaning", "dropout"),
    [
        ("minilm", "bundled", "twitter_roberta", 0.0),
        ("bertweet", "vinai/bertweet-base", "bertweet", 0.1),
        ("twitter_roberta", "cardiffnlp/twitter-roberta-base", "twitter_roberta", 0.1),
        ("roberta_tiny", "arampacha/roberta-tiny", "twitter_roberta", 0.0),
    ],
)
def test_each_model_of_conf(name: str, checkpoint: str, cleaning: str, dropout: float) -> None:
    settings = composed(name)
    assert (settings.name_or_path, settings.cleaning, settings.dropout) == (checkpoint, cleaning, dropout)
    assert settings.pretrained
    assert settings.revision is None
    assert settings.max_length == 128


def test_local_takes_a_folder(tmp_path: Path) -> None:
    settings = composed("local", f"model.name_or_path={tmp_path}")
    assert settings.is_folder
    assert settings.folder == tmp_path


def test_bundled_is_no_folder_even_if_one_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundled").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not Pretrained(**FIELDS).is_folder
    assert Pretrained(**FIELDS | {"name_or_path": "./bundled"}).is_folder


@pytest.mark.parametrize("name", ["./checkpiont", "checkpiont/", "a/b/c", "~/no/such/folder", "", "two words"])
def test_a_path_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fault(name_or_path=name) == f"model.name_or_path: got {name!r}, no such folder"


def test_a_path_that_is_nearly_there(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    message = fault(name_or_path=str(tmp_path / "checkpiont"))
    assert message.endswith("checkpiont', no such folder; did you mean 'checkpoint'?")


def test_a_file_instead_of_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    assert fault(name_or_path=str(file)).endswith("a file; should be the folder of that file")


@pytest.mark.parametrize("name", ["bert-base-uncased", "vinai/bertweet-base"])
def test_a_hub_id_may_have_a_revision(name: str) -> None:
    assert validate(Pretrained, FIELDS | {"name_or_path": name, "revision": "refs/pr/1"}).revision == "refs/pr/1"


def test_only_a_hub_id_may_have_a_revision(tmp_path: Path) -> None:
    expected = "model.revision: got 'main', should be null: only a hub id has revisions, not"
    assert fault(revision="main") == f"{expected} 'bundled'"
    assert fault(name_or_path=str(tmp_path), revision="main") == f"{expected} {str(tmp_path)!r}"


@pytest.mark.parametrize(
    ("key", "value"), [("max_length", 7), ("max_length", 64.0), ("dropout", 1.0), ("attention", "flash")]
)
def test_values_out_of_range(key: str, value: object) -> None:
    assert fault(**{key: value}).startswith(f"model.{key}: got {value!r}")


def test_is_checked_without_torch() -> None:
    code = "import sys, chirplet.model.pretrained; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
