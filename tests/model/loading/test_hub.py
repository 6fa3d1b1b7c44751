import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from checkpoints import TEXTS, settings_of
from chirplet.model.loading import hub
from chirplet.model.loading.load import load_model, load_tokenizer
from chirplet.system.error import ModelError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LABELS = ["negative", "positive"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def cached(cache: Path, checkpoints: dict[str, Path]) -> Path:
    """The snapshot of `acme/tiny` in the cache, as a download would have left it."""
    repository = cache / "models--acme--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(checkpoints["roberta"], repository / "snapshots" / COMMIT))


def raising(error: Exception) -> Callable[..., str]:
    def snapshot_download(*_: object, **__: object) -> str:
        raise error

    return snapshot_download


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_cached_it_opens_offline_and_its_commit_is_recorded(cached: Path, revision: str | None) -> None:
    settings = settings_of("acme/tiny", revision=revision)
    origin = load_model(settings, LABELS, seed=0).origin
    assert (origin.name, origin.revision, origin.pretrained) == ("acme/tiny", COMMIT, True)
    assert load_tokenizer(settings)(TEXTS[0])["input_ids"] == load_tokenizer(settings_of(cached))(TEXTS[0])["input_ids"]


def test_only_pickles_in_the_repository(cached: Path) -> None:
    (cached / "model.safetensors").rename(cached / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"^model\.name_or_path: acme/tiny has no model\.safetensors, .* never pickles"
    ):
        load_model(settings_of("acme/tiny"), LABELS, seed=0)
    with pytest.raises(ModelError, match=r"model\.revision=refs/pr/N .*huggingface\.co/acme/tiny/discussions"):
        load_model(settings_of("acme/tiny"), LABELS, seed=0)


def test_offline_and_not_cached() -> None:
    with pytest.raises(ModelError) as caught:
        load_tokenizer(settings_of("vinai/bertweet-base"))
    assert str(caught.value) == (
        "model.name_or_path: vinai/bertweet-base is neither a folder nor in the cache, and HF_HUB_OFFLINE is set; "
        "offline work model=minilm and model=local model.name_or_path=FOLDER"
    )


def test_another_revision_than_the_cached_one(cached: Path) -> None:
    with pytest.raises(ModelError, match="acme/tiny at revision v2 is neither a folder nor in the cache"):
        load_tokenizer(settings_of("acme/tiny", revision="v2"))


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: refused at once
    with pytest.raises(ModelError, match="and the hub cannot be reached; offline work model=minilm"):
        load_tokenizer(settings_of("acme/tiny"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (GatedRepoError, "model.name_or_path: acme/tiny is gated; accept its terms on huggingface.co and set HF_TOKEN"),
        (
            RepositoryNotFoundError,
            "model.name_or_path: the hub has no model 'acme/tiny' (for a private one, set HF_TOKEN)",
        ),
        (RevisionNotFoundError, "model.revision: got 'v2', should be a revision of acme/tiny"),
    ],
)
def test_refusals(kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", raising(kind.__new__(kind)))
    with pytest.raises(ModelError) as caught:
        load_tokenizer(settings_of("acme/tiny", revision="v2"))
    assert str(caught.value) == message


def test_any_other_failure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", raising(OSError("something\nbroke")))
    with pytest.raises(ModelError, match=r"cannot be downloaded from the hub \(OSError: something broke\)$"):
        load_tokenizer(settings_of("acme/tiny"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.ENOLCK])
def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(hub, "snapshot_download", raising(OSError(code, os.strerror(code))))
    with pytest.raises(ModelError) as caught:
        load_tokenizer(settings_of("acme/tiny"))
    told = f"{constants.HF_HUB_CACHE}: acme/tiny cannot be stored there ({os.strerror(code)}); set HF_HOME to a folder "
    assert str(caught.value).startswith(told)


def test_asks_for_no_pickle(monkeypatch: pytest.MonkeyPatch, checkpoints: dict[str, Path]) -> None:
    asked: list[str] = []

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(checkpoints["bert"])

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    hub.download("acme/tiny", None, weights=False)
    assert not any("safetensors" in pattern for pattern in asked)
    hub.download("acme/tiny", None, weights=True)
    assert "model.safetensors" in asked
    assert not any(pattern.endswith((".bin", ".pt", ".pkl", "*", ".py")) for pattern in asked)
