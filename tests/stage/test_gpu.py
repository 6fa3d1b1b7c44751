"""On a GPU `accelerator: auto` takes it, in every stage that computes; the CPU answers alike. `pytest -m gpu`."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

import chirplet
from checkpoints import TEXTS, tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.experiment import execute
from isolated import here
from places import CONF
from runs import small_run

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
STEPS = (
    "stage.steps={teacher: {stage: finetune}, student: {stage: distill, overrides: ['stage.cut.num_layers=1']},"
    "sparse: {stage: prune, overrides: ['stage.curve=[]']}, half: {stage: quantize, overrides: ['quantizer=fp16']}}"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Artifact]:
    """The artifacts of a chain, compared at its end."""
    folder = tmp_path_factory.mktemp("gpu")
    overrides = [*small_run(tiny_bert(folder / "encoder"), folder)[:-1], "trainer.precision=auto", "stage=chain", STEPS]
    with here(), initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        execute(compose("config", overrides=overrides), folder / "run", overrides)
    return {path.parent.name: Artifact.open(path) for path in (folder / "run").glob("*/artifact")}


def test_it_trains_and_is_measured(made):
    assert {made[name].record.training["device"] for name in ("teacher", "student", "sparse")} == {DEVICE}
    for artifact in made.values():
        cost = artifact.record.cost
        assert (cost["device"], cost["gpu"]["device"]) == ("cpu", DEVICE)


@pytest.mark.parametrize("name", ["teacher", "student", "sparse", "half"])
def test_the_cpu_answers_alike(name, made):
    on_gpu, on_cpu = (chirplet.load(made[name].folder, accelerator=device) for device in ("auto", "cpu"))
    assert (on_gpu.runtime.device, on_cpu.runtime.device) == (DEVICE, "cpu")
    np.testing.assert_allclose(on_gpu(TEXTS).probabilities, on_cpu(TEXTS).probabilities, atol=0.05)


def test_a_file_is_labeled_on_it(made, tmp_path, compose_config):
    (tmp_path / "in.csv").write_text("text\n" + "a lovely day\n" * 3, encoding="utf-8")
    files = [f"artifact={made['sparse'].folder}", f"input={tmp_path}/in.csv", f"output={tmp_path}/out.csv"]
    execute(compose_config("stage=predict", *files), Path(tmp_path / "run"))
    header, *rows = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("text,label,probability_") and len(rows) == 3 and len(set(rows)) == 1
