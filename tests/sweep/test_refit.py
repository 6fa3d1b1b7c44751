"""The refit is checked before the first trial and runs with the best trial's parameters."""

import json
import subprocess

import pytest
from optuna import load_study

from checkpoints import tiny_bert
from chirplet.sweep.plan.planning import make_plan
from chirplet.sweep.plan.storage import open_storage
from chirplet.sweep.refit import check_refit, filled
from chirplet.system.error import ConfigError, SweepError
from forked import command
from runs import small_run
from sweeps import command as sweep_command
from sweeps import composed, here, study, sweeper_settings, wait_until

FIXED = ["stage=finetune", "trainer.max_epochs=2", "logger=none"]
SEARCH = "stage.learning_rate=interval(1e-5,1e-3)"
BRACES = "trainer={max_epochs: 7}"
POINTS = "hydra.sweeper.enqueue=[{x: 0.3, y: 2}, {x: 0.8, y: 1}]"


def test_the_best_epoch_is_replaced_and_other_braces_stay():
    texts = ["distiller={logits: {weight: 2.0}}", "trainer.max_epochs={best_epoch}", "a='{0} {}'"]
    assert filled(texts, 3) == ["distiller={logits: {weight: 2.0}}", "trainer.max_epochs=3", "a='{0} {}'"]


@pytest.fixture(scope="class")
def job():
    with composed("hydra/sweeper=optuna", *FIXED) as job:
        yield job


class TestCheck:
    def check(self, job, *overrides, fixed=(), search=SEARCH):
        plan = make_plan(sweeper_settings(job.config), job, [*FIXED, *fixed, search])
        check_refit(plan, job, overrides)

    @pytest.mark.parametrize(
        "overrides",
        [[], [BRACES], ["cache_dir=${hydra:sweep.dir}/cache"], ["stage.final=true", "trainer.max_epochs={best_epoch}"]],
    )
    def test_valid_overrides_pass(self, job, overrides):
        self.check(job, *overrides)

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("trainer.max_epoch=3", "trainer.max_epoch: no such key; did you mean 'max_epochs'?"),
            ("trainer=gpus", "trainer: got 'gpus', should be one of"),
            ("trainer.max_epochs=0", "trainer.max_epochs: got 0, should be greater than or equal to 1"),
            ("trainer.max_epochs={epoch}", "trainer.max_epochs={epoch}: is not KEY=VALUE"),
            ("trainer={max_epochs: many}", "trainer.max_epochs: got 'many', should be a valid integer"),
        ],
    )
    def test_invalid_overrides_are_refused_in_one_line(self, job, override, line):
        with pytest.raises(ConfigError) as caught:
            self.check(job, override)
        (error,) = str(caught.value).splitlines()
        assert error.startswith(line) and error.endswith(" (after hydra.sweeper.refit_overrides)")

    def test_every_error_is_reported(self, job):
        with pytest.raises(ConfigError) as caught:
            self.check(job, "trainer.max_epochs=0", "stage.batch_size=-1")
        assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == {
            "trainer.max_epochs",
            "stage.batch_size",
        }

    def test_an_error_of_the_example_trial_is_not_reported(self, job):
        self.check(job, search="stage.batch_size=choice(-1,32)")


def test_an_invalid_refit_ends_the_command_before_the_first_trial(tmp_path):
    wrong = "hydra.sweeper.refit_overrides=['trainer.max_epochs=none']"
    done = command("-m", "search=finetune", "hydra.sweeper.refit=true", wrong, f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: trainer.max_epochs: got 'none', should be a valid integer")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_best_epoch_the_refit_trains_all_epochs(tmp_path):
    where = [f"hydra.sweep.dir={tmp_path}/sweep", "hydra.sweeper.isolate=false", "hydra.sweeper.figures=false"]
    small = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "logger=none", "trainer.max_epochs=2"]
    run = small_run(tiny_bert(tmp_path / "encoder"), tmp_path)
    done = command(
        *("-m", "search=finetune", *run, *small, "callback=none", "stage.layers=choice(0,1,all)", *where),
        *("hydra.sweeper.n_trials=1", "hydra.sweeper.refit=true"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((tmp_path / "sweep" / "refit" / "artifact" / "artifact.json").read_text())
    assert (record["training"]["epochs"], record["training"]["final"]) == (2, True)


def test_a_trial_without_epochs_has_no_best_epoch(tmp_path):
    overrides = [POINTS, "hydra.sweeper.n_trials=2", "hydra.sweeper.refit=true", f"ledger={tmp_path}/ledger"]
    with pytest.raises(SweepError) as caught:
        here(tmp_path / "sweep", *overrides, "hydra.sweeper.refit_overrides=['seed={best_epoch}']")
    assert str(caught.value) == (
        "hydra.sweeper.refit_overrides: got 'seed={best_epoch}', but trial 1, the best, trained no epochs; "
        "set a number and run the same command again"
    )
    for _ in range(2):
        assert here(tmp_path / "sweep", *overrides, "hydra.sweeper.refit_overrides=['seed=7']") == 1.25
    assert (tmp_path / "ledger").read_text().split() == ["0", "1", "alone"]
    assert "seed: 7" in (tmp_path / "sweep" / "refit" / ".hydra" / "config.yaml").read_text()
    assert len(study(tmp_path / "sweep").trials) == 2


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_two_studies_of_one_storage_do_not_wait_for_each_others_refit(kind, tmp_path, new_storage):
    """The first refit runs until the second one is done; with a shared lock, both would wait forever."""
    storage = new_storage(kind)
    shared = ["hydra.sweeper.n_trials=1", "hydra.sweeper.refit=true", f"hydra.sweeper.storage={storage}"]
    gate = tmp_path / "gate"
    long = [f"hydra.sweeper.refit_overrides=['gate={gate}']", "hydra.sweeper.study_name=long"]
    process = subprocess.Popen(sweep_command(tmp_path / "long", *shared, *long, "hydra.sweeper.isolate=false"))
    try:
        wait_until(lambda: (tmp_path / "long" / "refit").exists() or process.poll() is not None)
        here(tmp_path / "short", *shared, "hydra.sweeper.study_name=short")
        assert process.poll() is None
        gate.touch()
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    for name in ("long", "short"):
        assert load_study(study_name=name, storage=open_storage(storage)[0]).user_attrs["refitted"] == 0
