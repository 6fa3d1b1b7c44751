"""A run that was stopped early stays so."""

import shutil

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.experiment import execute
from runs import small_run


def test_a_run_that_had_ended_takes_no_step_more_when_it_is_resumed(compose_config, tmp_path):
    overrides = [
        *small_run(tiny_bert(tmp_path / "encoder"), tmp_path),
        "stage.learning_rate=1e-12",  # nothing improves
        "callback.early_stopping.patience_validations=1",
        "trainer.max_epochs=4",
        "stage.evaluate_train=false",
    ]
    execute(compose_config(*overrides), tmp_path / "out")
    whole = Artifact.open(tmp_path / "out" / "artifact").record
    assert whole.training["epochs"] == 2
    shutil.rmtree(tmp_path / "out" / "artifact")
    execute(compose_config(*overrides, f"resume={tmp_path}/out/checkpoints/last.ckpt"), tmp_path / "again")
    resumed = Artifact.open(tmp_path / "again" / "artifact").record
    assert [resumed.training[name] for name in ("steps", "epochs")] == [whole.training["steps"], 2]
    assert resumed.id == whole.id
