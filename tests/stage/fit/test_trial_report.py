"""Reports of a trial to its sweep, and pruning."""

import optuna
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from checkpoints import tiny_bert
from chirplet.cli.experiment import execute
from chirplet.stage.fit.trial_report import TrialReport
from chirplet.sweep.trial.trial import Pruned, RunningTrial, current, running
from places import SAMPLE
from runs import small_run


class Line(pl.LightningModule):
    """One weight; its score on validation is how often it was validated, times ten."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validations = 0
        self.steps = 0

    def training_step(self, batch, _):
        self.steps += 1
        return (self.weight * batch).square().mean()

    def validation_step(self, batch, _):
        if not self.trainer.sanity_checking:
            self.log("val/score", 10.0 * (self.validations + 1))
        else:
            self.log("val/score", -1.0)

    def on_validation_epoch_end(self):
        self.validations += not self.trainer.sanity_checking

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Reports:
    """A trial that records its reports, and may be pruned at one of them."""

    def __init__(self, end_at=None) -> None:
        self.output: list[tuple[float, int]] = []
        self.end_at = end_at
        self.trial = RunningTrial(0, self)

    def __call__(self, value, step) -> None:
        self.output.append((value, step))
        if step == self.end_at:
            raise Pruned(f"pruned at report {step}")


def fit(reports, batch_size=4, epochs=3, module=None, **changes) -> None:
    """Train on eight numbers."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    callbacks = [TrialReport(reports.trial, "val/score")]
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=callbacks, enable_model_summary=False, **quiet | changes
    )
    trainer.fit(module or Line(), *(DataLoader(torch.ones(8), batch_size) for _ in range(2)))


def test_each_validation_is_reported_once_and_numbered_from_one():
    reports = Reports()
    fit(reports)
    assert reports.output == [(10.0, 1), (20.0, 2), (30.0, 3)]
    assert all(type(value) is float for value, _ in reports.output)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_numbers_do_not_depend_on_the_steps_between(batch_size):
    reports = Reports()
    fit(reports, batch_size)
    assert [step for _, step in reports.output] == [1, 2, 3]


def test_several_validations_of_an_epoch_count():
    reports = Reports()
    fit(reports, batch_size=1, epochs=2, val_check_interval=0.5)
    assert reports.output == [(10.0, 1), (20.0, 2), (30.0, 3), (40.0, 4)]


@pytest.mark.parametrize("sanity_steps", [0, 1, -1])
def test_lightning_s_check_before_training_is_no_report(sanity_steps):
    reports = Reports()
    fit(reports, epochs=1, num_sanity_val_steps=sanity_steps)
    assert reports.output == [(10.0, 1)]


def test_a_pruned_trial_ends_within_the_report():
    reports, module = Reports(end_at=2), Line()
    with pytest.raises(Pruned, match=r"^pruned at report 2$"):
        fit(reports, module=module)
    assert reports.output == [(10.0, 1), (20.0, 2)]
    assert module.steps == 4, "two epochs of two steps, and none after"


def test_a_pruner_of_optuna_s_decides():
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(upper=25.0))
    own = study.ask()

    def report(value: float, step: int) -> None:
        own.report(value, step)
        if own.should_prune():
            raise Pruned

    reports = Reports()
    reports.trial = RunningTrial(own.number, report)
    with pytest.raises(Pruned):
        fit(reports, epochs=5)
    assert study.trials[0].intermediate_values == {1: 10.0, 2: 20.0, 3: 30.0}


def test_a_trial_is_the_current_one_while_it_runs():
    outer, inner = Reports().trial, Reports().trial
    assert current() is None
    with pytest.raises(Pruned), running(outer):
        with running(inner):
            assert current() is inner
        assert current() is outer
        raise Pruned
    assert current() is None


def test_a_run_within_a_sweep_reports_its_objective_and_a_pruned_one_leaves_no_artifact(compose_config, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("".join(SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:201]), encoding="utf-8")
    changes = [f"data.train={few}", "objective=val/loss"]
    config = compose_config(*small_run(tiny_bert(tmp_path / "encoder"), tmp_path), *changes)
    reports = Reports(end_at=1)
    with pytest.raises(Pruned), running(reports.trial):
        execute(config, tmp_path / "run")
    ((value, step),) = reports.output
    assert step == 1 and 0.5 < value < 5.0, "a loss, where the score would be below one half"
    assert not (tmp_path / "run" / "artifact").exists()
