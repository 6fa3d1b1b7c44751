"""A W&B key and a token of the hub, planted in the environment, are in nothing that a run writes or says."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import tiny_bert
from chirplet.artifact import Artifact
from places import ROOT, SAMPLE
from runs import small_run

KEYS = {
    "WANDB_API_KEY": "5ec2e7" + "0123456789abcdef" * 2 + "ab",
    "HF_TOKEN": "hf_" + "PlantedTokenOfTheHubForTests" + "XyzXyz",
    "HUGGING_FACE_HUB_TOKEN": "hf_" + "AnotherPlantedTokenForTests" + "XyzXyz",
    "KAGGLE_KEY": "planted" + "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
}
NONE = "'stage.measure_cost=false'"
OFF = "'stage.tolerance=null','stage.sensitivity_tweets=0'"
STEPS = (
    f"stage.steps={{teacher: {{stage: finetune, overrides: [{NONE}]}},"
    f"student: {{stage: distill, of: teacher, overrides: ['stage.cut.depth=1','stage.control=false',{NONE}]}},"
    "sparse: {stage: prune, of: student, overrides: ['pruner=vocabulary','stage.recovery=none',"
    f"'stage.curve=[]',{NONE}]}},"
    f"half: {{stage: quantize, of: sparse, overrides: ['quantizer=bf16',{OFF},{NONE}]}}}}"
)


def found_in(content: bytes) -> list[str]:
    """Names of the secrets that stand there, as they are or as base64 has them."""
    return [
        name
        for name, secret in KEYS.items()
        if secret.encode() in content or base64.b64encode(secret.encode())[:-4] in content
    ]


def launched(tmp_path: Path, *overrides: str) -> str:
    environment = {**os.environ, **KEYS, "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path / "home")}
    environment |= {name: str(tmp_path / "home") for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")}
    command = [sys.executable, str(ROOT / "run.py"), *overrides]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found_in((done.stdout + done.stderr).encode()) == []
    return f"{done.returncode}\n{done.stderr}"


def test_what_is_planted_would_be_found():
    for name, secret in KEYS.items():
        assert found_in(f"x {secret} y".encode()) == [name]
        assert found_in(base64.b64encode(secret.encode())) == [name]


def test_no_stage_writes_or_says_a_secret(tmp_path):
    pytest.importorskip("wandb")
    data = [
        *small_run(tiny_bert(tmp_path / "encoder"), tmp_path)[:-1],
        "trainer.max_epochs=1",
        "trainer.max_steps=4",
        "callback=none",
        "logger=wandb",
    ]
    chain = [*data, "stage=chain", STEPS, "stage.compare_overrides=[]", f"hydra.run.dir={tmp_path}/chain"]
    told = launched(tmp_path, *chain)
    assert told.startswith("0\n"), told
    made = {path.parent.name: Artifact.open(path) for path in tmp_path.glob("chain/*/artifact")}
    assert set(made) == {"teacher", "student", "sparse", "half"}
    assert (tmp_path / "chain" / "comparison.csv").is_file()
    assert list(tmp_path.glob("chain/*/wandb/offline-run-*/*.wandb"))
    explore = launched(tmp_path, *data, "stage=explore", f"hydra.run.dir={tmp_path}/explore")
    assert explore.startswith("0\n"), explore
    files = [f"artifact={tmp_path}/chain/half/artifact", f"input={SAMPLE}", f"output={tmp_path}/out.csv"]
    predict = launched(tmp_path, "stage=predict", *files, "stage.prefix=own_", f"hydra.run.dir={tmp_path}/predict")
    assert predict.startswith("0\n"), predict
    # Those of who puts the environment into the configuration, and of who makes a mistake.
    leaky = [*data, "+logger.wandb.tags=[${oc.env:HF_TOKEN}]", "stage=finetune", f"hydra.run.dir={tmp_path}/leaky"]
    assert launched(tmp_path, *leaky, "trainer.max_epochs=0").startswith("2\nerror: ")
    files_written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files_written) > 50
    assert {str(path): found for path in files_written if (found := found_in(path.read_bytes()))} == {}
