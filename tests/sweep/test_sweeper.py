"""The Hydra plugin, and all options of the sweeper."""

import subprocess
import sys

import optuna
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from optuna.distributions import CategoricalDistribution, IntDistribution

from chirplet.config.schema import Foreign
from chirplet.sweep.plan.planning import make_plan
from chirplet.sweep.plan.settings import SweepSettings
from chirplet.sweep.plan.study import Samplers, make_pruner
from hydra_plugins.chirplet_sweeper.sweeper import OptunaSweeper
from places import CONF
from sweeps import composed, sweeper_settings

SPACE = {"n": IntDistribution(1, 9), "c": CategoricalDistribution(["a", "b", True, None])}


def is_ours(sweeper: type) -> bool:
    """Whether a class is the sweeper; Hydra imports plugins again, so the class object differs."""
    return (sweeper.__module__, sweeper.__name__) == (OptunaSweeper.__module__, OptunaSweeper.__name__)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


def chosen(group: str, option: str) -> Foreign:
    with composed("hydra/sweeper=optuna", f"hydra/sweeper/{group}={option}") as job:
        return getattr(sweeper_settings(job.config), group)


def imported(module: str) -> set[str]:
    """The loaded modules after an import in a new process."""
    code = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_hydra_finds_the_plugin():
    assert any(is_ours(plugin) for plugin in Plugins.instance().discover(Sweeper))


def test_discovery_imports_nothing_slow():
    """Hydra imports every plugin at each start."""
    assert not imported("hydra_plugins.chirplet_sweeper.sweeper") & {"optuna", "torch", "sklearn", "chirplet"}


def test_a_sweep_imports_torch_and_scikit_learn_only_where_they_are_used():
    """Errors should be reported within two seconds."""
    assert not imported("chirplet.sweep.conduct") & {"torch", "sklearn", "scipy"}


@pytest.mark.parametrize("override", ["hydra/sweeper=optuna", *(f"search={name}" for name in options("search"))])
def test_overrides_that_select_the_sweeper(override):
    with composed(override) as job:
        made = Plugins.instance().instantiate_sweeper(
            hydra_context=job.hydra_context, task_function=job.task_function, config=job.config
        )
    assert is_ours(type(made))
    assert set(made.settings) == set(SweepSettings.model_fields)


@pytest.mark.parametrize("option", options("hydra/sweeper/sampler"))
def test_every_sampler_draws_and_draws_the_same_again(option):
    target = chosen("sampler", option)
    assert target.arguments["seed"] == 42
    drawn = []
    for _ in range(2):
        samplers = Samplers(target, SPACE, 1)
        study = optuna.create_study()
        for number in range(4):
            study.sampler = samplers.for_trial(number)
            study.tell(study.ask(SPACE), number % 3)
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]
    assert len({tuple(params.items()) for params in drawn[0]}) > 1
    assert all(params.keys() == SPACE.keys() for params in drawn[0])


@pytest.mark.parametrize("option", options("hydra/sweeper/pruner"))
def test_every_pruner_evaluates_a_report(option):
    study = optuna.create_study(pruner=make_pruner(chosen("pruner", option)), study_name="of a name")
    evaluated = []
    for value in (1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0):
        trial = study.ask()
        reports = []
        for step in (1, 2, 3):
            trial.report(value, step)
            reports.append(trial.should_prune())
        evaluated.append(any(reports))
        study.tell(trial, value)
    # The first trial has no others to compare with; a report nine times worse than all others is pruned.
    assert evaluated[0] is False
    assert any(evaluated[5:]) is (option != "none")


@pytest.mark.parametrize("name", options("search"))
def test_every_search_is_a_plan(name):
    with composed(f"search={name}") as job:
        settings = sweeper_settings(job.config)
        plan = make_plan(settings, job, [f"search={name}"])
    assert set(plan.space) <= set(settings.params)
    assert len(plan.space) >= 2
    assert plan.study_name.startswith(f"{name}-")
    assert plan.folder.name == plan.study_name
    assert plan.objectives == ("val/f1_macro",)
    assert plan.directions == ("maximize",)
    assert plan.n_trials == settings.n_trials


def test_a_searched_key_may_be_fixed_on_the_command_line():
    """The enqueued points of the search file do not prevent this."""
    with composed("search=finetune") as job:
        plan = make_plan(sweeper_settings(job.config), job, ["search=finetune", "stage.layer_decay=0.9"])
    assert "stage.layer_decay" not in plan.space
    assert "stage.layer_decay=0.9" in plan.fixed
    assert [point.keys() for point in plan.enqueue] == [plan.space.keys()]
