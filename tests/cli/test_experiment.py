"""From configuration to run: what is recorded, what is refused."""

import pytest

from chirplet.cli.binding import parse
from chirplet.cli.overrides import first_job, values_of
from chirplet.system.error import ConfigError


@pytest.mark.parametrize("metric", ["mcc", "average_precision", "recall_Extremely Negative", "f1_neg/ative"])
def test_metrics_of_labels_can_be_the_objective(metric, compose_config):
    assert parse(compose_config(f"objective='val/{metric}'")).callback["checkpoint"].monitor == f"val/{metric}"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["objective=test/accuracy"], "objective: got 'test/accuracy', should be one of val/accuracy"),
        (["seed=-1"], "seed: got -1, should be greater than or equal to 0"),
        (["stage.layers=2"], "stage.layers: got 2, should be null unless method=last_layers"),
        (["stage.method=last_layers"], "stage.layers: got None, should be a whole number from 0"),
        (["+callback.mine._target_=os.system"], "callback.mine._target_: got 'os.system', should be in one of"),
        (["trainer.precision=8"], "trainer.precision: got 8, should be 'auto'"),
        (["data=csv"], "data.train: is missing; give data.train=VALUE"),
        (["resume=nowhere.ckpt"], "stage.resume: got 'nowhere.ckpt', which is no file"),
        (["+trainer.fast=true"], "trainer.fast: no such key"),
        (["callback.checkpoint.monitor=val/f1"], "callback.checkpoint.monitor: got 'val/f1', should be one of"),
        (["stage=chain", "stage.steps=[finetune,prun]"], "stage.steps.1: got 'prun', should be 'finetune', 'distill'"),
        (["trainer.limit_train_batches=0"], "trainer.limit_train_batches: got 0, should be greater than"),
        (["trainer.max_steps=0"], "trainer.max_steps: got 0, should be greater than or equal to 1 or be -1"),
        (["trainer.devices=0"], "trainer.devices: got 0, should be greater than or equal to 1"),
        (["stage.class_weights=even"], "stage.class_weights: got 'even', should be"),
        (["+logger.mine.name=x"], "logger.mine: has no _target_"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(overrides, line, compose_config):
    with pytest.raises(ConfigError) as caught:
        parse(compose_config(*overrides))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_two_faults_are_two_lines(compose_config):
    with pytest.raises(ConfigError) as caught:
        parse(compose_config("trainer.max_epochs=0", "stage.weight_decay=-1"))
    assert len(str(caught.value).splitlines()) == 2


def test_the_overrides_of_a_multirun_by_hand():
    swept = ["artifact=a,b", "teacher=[c,d]", "stage=quantize", "pruner.sparsity=range(0.1,0.5,0.2)", "~student"]
    assert first_job(swept) == ["artifact=a", "teacher=[c,d]", "stage=quantize", "pruner.sparsity=0.1", "~student"]
    assert values_of(swept, ("artifact", "teacher")) == ["a", "b", "c", "d"]
    assert values_of(["artifact=null", "teacher=[a],[a,b]"], ("artifact", "teacher")) == ["a", "b"]
