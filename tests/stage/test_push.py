"""Uploads to a stand-in of the hub: the files, their visibility, and errors."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import chirplet
from artifacts import tiny_artifact
from checkpoints import tiny_bert
from chirplet.artifact.artifact import CARD, Artifact, content_id, write_record
from chirplet.artifact.hub import is_written
from chirplet.cli.experiment import execute
from chirplet.evaluation.cost import UNUSED
from chirplet.model.loading.tokenizer import VOCABULARIES
from chirplet.report.card import model_card
from chirplet.runtime.open import MODEL_FILES
from chirplet.system.error import ArtifactError, ConfigError, PushError
from hub import Hub, serving
from places import ROOT
from records import make_record
from runs import small_run

TOKEN = "hf_planted0token0that0must0stay0secret"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def artifact(base, tmp_path_factory) -> Path:
    """With an id that its files have, a card, and predictions."""
    folder = tiny_artifact(base, tmp_path_factory.mktemp("made") / "artifact")
    (folder / "predictions.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 40)
    (folder / CARD).write_text(model_card(make_record()), encoding="utf-8")
    write_record(folder, make_record(id=content_id(folder)))
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub(TOKEN)) as served:
        yield served


@pytest.fixture
def client(hub, tmp_path, monkeypatch) -> pytest.MonkeyPatch:
    """The hub's client in this process talks to the stand-in."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return monkeypatch


def run(environment: dict[str, str], *arguments: str, output: Path) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    home = {"HF_HOME": str(output / "home")}  # no token of whoever runs the tests
    command = [sys.executable, "run.py", *arguments, f"hydra.run.dir={output}/out", f"hydra.sweep.dir={output}/sweep"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=kept | home | environment)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_repository_has_the_artifact_instead_of_the_one_before(hub, artifact, tmp_path):
    """Other files of the repository stay, the `model.onnx` of an earlier artifact does not."""
    owners = {".gitattributes": b"x", "notes.txt": b"mine", "figures/model.onnx": b"mine", "handler[1].py": b"mine"}
    before = {"artifact.json": (artifact / "artifact.json").read_bytes(), "model.onnx": b"of before"}
    hub.files["me/texts"] = owners | before
    done = run(hub.environment(), "stage=push", f"artifact={artifact}", "push=me/texts", output=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"pushed    {hub.address}/me/texts"] and done.stderr == ""
    assert hub.files["me/texts"] == files_of(artifact) | owners
    assert hub.commits == [f"finetune (full) on vader_tweets, {Artifact.open(artifact).record.id[:12]}"]
    assert TOKEN in hub.tokens and TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in content for content in files_of(tmp_path).values())


def test_a_run_pushes_what_it_made_to_a_private_repository(hub, client, base, compose_config, tmp_path, capfd):
    overrides = [*small_run(base, tmp_path), "trainer.limit_train_batches=2", "trainer.max_epochs=1", "push=me/made"]
    execute(compose_config(*overrides), tmp_path / "out", overrides)
    folder = tmp_path / "out" / "artifact"
    assert hub.files["me/made"] == files_of(folder) | {".gitattributes": b""}
    assert hub.private == {"me/made": True}
    record = Artifact.open(folder).record
    assert not any("push" in override for override in record.overrides) and "push" not in record.config
    assert capfd.readouterr().out.splitlines()[-1] == f"pushed    {hub.address}/me/made"
    assert not any(TOKEN.encode() in content for content in files_of(tmp_path).values())


def test_public_only_when_asked(hub, client, artifact, compose_config, tmp_path):
    execute(compose_config("stage=push", f"artifact={artifact}", "push=me/open", "push_private=false"), tmp_path)
    assert hub.private == {"me/open": False}


def test_a_failed_upload_names_the_command_that_tries_again(hub, client, artifact, compose_config, tmp_path):
    before = files_of(artifact)
    hub.refused = "/commit/"
    with pytest.raises(PushError) as caught:
        execute(compose_config("stage=push", f"artifact={artifact}", "push=me/texts"), tmp_path)
    line = str(caught.value)
    assert caught.value.exit_code == 1 and "\n" not in line and TOKEN not in line
    assert line.startswith("push: the upload to me/texts failed (HfHubHTTPError: 403")
    assert line.endswith(f"chirplet stage=push artifact={artifact} push=me/texts")
    assert files_of(artifact) == before and set(hub.files["me/texts"]) == {".gitattributes"}


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("HF_HUB_OFFLINE", True, "push: got 'me/x', but HF_HUB_OFFLINE is set; unset it, or leave push out"),
        ("HF_TOKEN", "", "push: got 'me/x', but there is no token; set HF_TOKEN or run hf auth login"),
        ("HF_TOKEN", "hf_wrong", "push: me/x cannot be pushed to (HfHubHTTPError: 403"),
        ("ENDPOINT", "http://127.0.0.1:9", "push: me/x cannot be pushed to (ConnectError: "),
    ],
)
def test_invalid_pushes_raise_before_the_work(hub, client, base, compose_config, tmp_path, name, value, line):
    if name == "HF_TOKEN":
        client.setenv(name, value)
    else:
        client.setattr(constants, name, value)
    with pytest.raises(ConfigError) as caught:
        execute(compose_config(*small_run(base, tmp_path), "push=me/x"), tmp_path / "out")
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"] and not any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["stage=push"], "artifact: is missing; give artifact=DIR"),
        (["stage=chain", "push=me/x"], "push: stage=chain makes no artifact; push one with stage=push artifact=DIR"),
        (["push=texts"], "push: got 'texts', should be ORG/NAME"),
    ],
)
def test_invalid_settings_raise(hub, client, compose_config, tmp_path, overrides, line):
    with pytest.raises(ConfigError) as caught:
        execute(compose_config(*overrides), tmp_path)
    assert str(caught.value).startswith(line)
    assert hub.files == {}


def test_a_sweep_pushes_nothing(hub, tmp_path):
    done = run(hub.environment(), "-m", "stage=finetune", "seed=1,2", "push=me/x", output=tmp_path)
    assert done.returncode == 2 and "error: push: got -m, but runs would overwrite each other" in done.stderr
    assert hub.files == {}


def test_an_artifact_with_other_files_is_not_pushed(hub, client, artifact, compose_config, tmp_path):
    other = shutil.copytree(artifact, tmp_path / "other")
    (other / ".env").write_text("KEY=1")
    with pytest.raises(ArtifactError, match="was changed after it was made"):
        execute(compose_config("stage=push", f"artifact={other}", "push=me/x"), tmp_path)
    assert hub.files == {}


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": b"of a stranger", "a": b"", "b": b"", "c": b""},
        {"README.md": b"# Mine"},
        {"artifact.json": b"[]", "x": b""},
        {"artifact.json": b'{"version": 3, "files": []}'},
        {"artifact.json": b"{" * 100_000},
        {"below/artifact.json": b"{}"},
    ],
)
def test_a_repository_that_was_never_an_artifact_s_is_left_alone(
    hub, client, artifact, base, compose_config, tmp_path, files
):
    hub.files["me/other"] = {".gitattributes": b""} | files
    with pytest.raises(ConfigError) as caught:
        execute(compose_config("stage=push", f"artifact={artifact}", "push=me/other"), tmp_path)
    first = sorted(files)[0]
    assert str(caught.value).startswith(f"push: me/other has {first}") and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="push: me/other has"):  # before the work
        execute(compose_config(*small_run(base, tmp_path), "push=me/other"), tmp_path / "out")
    assert hub.files["me/other"] == {".gitattributes": b""} | files and hub.commits == []


def test_every_file_that_a_stage_writes_is_one_that_push_may_replace(artifact):
    names = [path.name for path in artifact.iterdir()]
    assert len(names) > 5 and all(map(is_written, [*names, *MODEL_FILES, *UNUSED, *VOCABULARIES, "openvino_model.bin"]))
    assert not any(map(is_written, ["LICENSE", ".gitattributes", "my_model.onnx", "figures/config.json", "handler.py"]))


@pytest.mark.parametrize("name", ["README.md", "artifact.json", "predictions.parquet", "model.safetensors"])
def test_a_link_that_leaves_the_folder_is_not_followed(hub, client, artifact, compose_config, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_bytes((artifact / name).read_bytes() + b" ")
    planted = shutil.copytree(artifact, tmp_path / "planted")
    (planted / name).unlink()
    (planted / name).symlink_to(secret)
    with pytest.raises((ArtifactError, ConfigError), match=f"{name} is a link to something outside that folder"):
        execute(compose_config("stage=push", f"artifact={planted}", "push=me/x"), tmp_path / "out")
    assert hub.files == {}


@pytest.mark.parametrize("name", ["README.md", "artifact.json"])
def test_a_file_below_is_part_of_what_an_artifact_was_made_with(hub, client, artifact, compose_config, tmp_path, name):
    planted = shutil.copytree(artifact, tmp_path / "planted")
    (planted / "below").mkdir()
    (planted / "below" / name).write_text("a key")
    with pytest.raises(ArtifactError, match="was changed after it was made"):
        execute(compose_config("stage=push", f"artifact={planted}", "push=me/x"), tmp_path / "out")
    assert hub.files == {}


def test_a_snapshot_of_the_hub_s_cache_opens_and_is_pushed_as_a_copy(hub, client, artifact, compose_config, tmp_path):
    """As `snapshot_download` lays it out, with links into the model's blobs."""
    model = tmp_path / "hub" / "models--me--texts"
    (model / "blobs").mkdir(parents=True)
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(artifact.iterdir())):
        shutil.copyfile(path, model / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert chirplet.load(snapshot)(["a text"]).labels
    pushing = ["stage=push", f"artifact={snapshot}", "push=me/x"]
    with pytest.raises(ArtifactError, match="a link to something outside that folder; should be a file, as in a copy"):
        execute(compose_config(*pushing), tmp_path / "out")
    assert hub.files == {}
    copy = shutil.copytree(snapshot, tmp_path / "copy")
    execute(compose_config("stage=push", f"artifact={copy}", "push=me/x"), tmp_path / "out")
    assert set(hub.files["me/x"]) == {path.name for path in artifact.iterdir()} | {".gitattributes"}
