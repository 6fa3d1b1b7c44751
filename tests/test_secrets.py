"""A W&B key and a Hub token from the environment do not appear in any file or output of a run."""

import base64
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.experiment import execute
from chirplet.evaluation import cost
from forked import command
from places import CONF, SAMPLE
from runs import small_run

KEYS = {
    "WANDB_API_KEY": "5ec2e7" + "0123456789abcdef" * 2 + "ab",
    "HF_TOKEN": "hf_" + "PlantedTokenOfTheHubForTests" + "XyzXyz",
    "HUGGING_FACE_HUB_TOKEN": "hf_" + "AnotherPlantedTokenForTests" + "XyzXyz",
    "KAGGLE_KEY": "planted" + "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
}
NONE = "'stage.measure_cost=false'"
OFF = "'stage.tolerance=null','stage.sensitivity_texts=0'"
STEPS = (
    f"stage.steps={{teacher: {{stage: finetune, overrides: [{NONE}]}},"
    f"student: {{stage: distill, of: teacher, overrides: ['stage.cut.num_layers=1',{NONE}]}},"
    "sparse: {stage: prune, of: student, overrides: ['pruner=vocabulary','stage.recovery=none',"
    f"'stage.curve=[]',{NONE}]}},"
    f"half: {{stage: quantize, of: sparse, overrides: ['quantizer=bf16',{OFF},{NONE}]}}}}"
)

pytestmark = pytest.mark.usefixtures("costs_here")


def found_in(content: bytes) -> list[str]:
    """Names of the secrets in the data, plain or in base64."""
    return [
        name
        for name, secret in KEYS.items()
        if secret.encode() in content or base64.b64encode(secret.encode())[:-4] in content
    ]


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def check_none_holds_a_secret(folder: Path) -> None:
    assert {str(path): found for path in files_below(folder) if (found := found_in(path.read_bytes()))} == {}


@pytest.fixture
def carried_out(monkeypatch, tmp_path, capfd):
    """Runs a configuration in this process with the secrets in its environment, and checks its output."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(cost, "ROUNDS", 1)
    (tmp_path / "home").mkdir()

    def carry_out(name: str, *overrides: str) -> None:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            execute(compose("config", overrides=list(overrides)), tmp_path / name, overrides)
        captured = capfd.readouterr()
        assert found_in((captured.out + captured.err).encode()) == []

    return carry_out


def test_the_check_detects_secrets():
    for name, secret in KEYS.items():
        assert found_in(f"x {secret} y".encode()) == [name]
        assert found_in(base64.b64encode(secret.encode())) == [name]


def test_no_stage_writes_or_prints_a_secret(tmp_path, carried_out):
    pytest.importorskip("wandb")
    few = ["trainer.max_epochs=1", "trainer.max_steps=4", "callback=none", "logger=wandb"]
    data = [*small_run(tiny_bert(tmp_path / "encoder"), tmp_path)[:-1], *few]
    carried_out("chain", *data, "stage=chain", STEPS, "stage.compare_overrides=[]")
    made = {path.parent.name: Artifact.open(path) for path in tmp_path.glob("chain/*/artifact")}
    assert set(made) == {"teacher", "student", "sparse", "half"}
    assert (tmp_path / "chain" / "comparison.csv").is_file()
    assert len(list(tmp_path.glob("chain/**/wandb/offline-run-*/*.wandb"))) >= len(made)
    carried_out("explore", *data, "stage=explore")
    files = [f"artifact={tmp_path}/chain/half/artifact", f"input={SAMPLE}", f"output={tmp_path}/out.csv"]
    carried_out("predict", "stage=predict", *files, "stage.prefix=own_")
    assert (tmp_path / "out.csv").is_file()
    # A configuration that refers to the environment, and one with an error.
    leaky = [*data, "+logger.wandb.tags=[${oc.env:HF_TOKEN}]", "stage=finetune", f"hydra.run.dir={tmp_path}/leaky"]
    done = command(*leaky, "trainer.max_epochs=0", cwd=tmp_path)
    assert (done.returncode, done.stderr.startswith("error: ")) == (2, True)
    assert found_in((done.stdout + done.stderr).encode()) == []
    assert len(files_below(tmp_path)) > 50
    check_none_holds_a_secret(tmp_path)


TWO_STEPS = (
    f"stage.steps={{one: {{stage: finetune, overrides: [{NONE}]}},"
    f"two: {{stage: prune, overrides: ['pruner=vocabulary','stage.recovery=none',{NONE}]}}}}"
)
KINDS = {
    "a run": [],
    "a multirun": ["-m", "seed=1,2"],
    "a sweep": [
        "-m",
        "hydra/sweeper=optuna",
        "seed=range(1,3)",
        "hydra.sweeper.n_trials=1",
        "hydra.sweeper.refit=true",
    ],
    "a chain": ["stage=chain", TWO_STEPS, "stage.compare=false"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_overrides_are_kept_as_they_were_typed(tmp_path, carried_out, kind):
    few = ["trainer.max_epochs=1", "trainer.max_steps=4", "callback=none", "logger=csv"]
    data = [*small_run(tiny_bert(tmp_path / "encoder"), tmp_path), *few]
    secret = ["logger.csv.name=${oc.env:KAGGLE_KEY}", "+logger.again=${logger.csv}"]
    if kind == "a chain":
        data = [override for override in data if not override.startswith("stage.")]
    else:
        data = [*data, "stage=finetune"]
    folders = [f"hydra.run.dir={tmp_path}/runs", f"hydra.sweep.dir={tmp_path}/runs"]
    done = command(*KINDS[kind], *data, *secret, *folders, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").glob("**/artifact/artifact.json"))) >= (1 if kind == "a run" else 2)
    assert b"${oc.env:KAGGLE_KEY}" in b"".join(path.read_bytes() for path in files_below(tmp_path))
    check_none_holds_a_secret(tmp_path)
