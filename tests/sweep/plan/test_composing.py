"""A configuration from the cache equals the one that Hydra composes from its files."""

import pytest
from omegaconf import OmegaConf

from chirplet.sweep.plan.composing import Composer, compose
from chirplet.sweep.plan.planning import make_plan
from chirplet.sweep.plan.space import as_override
from chirplet.system.command_line import override_of
from chirplet.system.error import ConfigError
from sweeps import composed, sweeper_settings

FIXED = [
    "hydra.run.dir=run",
    "stage=finetune",
    "trainer.max_epochs=2",
    "logger=none",
    "cache_dir=${oc.env:SOME_PLACE,cache}",
]
SEARCH = [
    "stage.learning_rate=interval(1e-5,1e-3)",
    "stage.schedule=choice(linear,cosine)",
    "model.revision='a b','${seed}',null,'null','[1]'",
    "seed=range(5)",
    "deterministic=choice(true,false)",
]
TRIALS = [
    {"stage.learning_rate": 1e-5, "stage.schedule": "linear", "model.revision": None, "seed": 0, "deterministic": True},
    {"stage.learning_rate": 0.1 + 0.2, "stage.schedule": "cosine", "model.revision": "'a b'", "seed": 4},
    {"seed": 3, "model.revision": "'${seed}'", "stage.schedule": "linear", "deterministic": False},
    {"stage.learning_rate": 1e-3, "stage.schedule": "linear", "model.revision": "'null'", "seed": 1},
    {"stage.learning_rate": 1e-4, "stage.schedule": "cosine", "model.revision": None, "seed": 2},
]


@pytest.fixture(scope="module")
def swept():
    with composed("hydra/sweeper=optuna", *FIXED) as job:
        plan = make_plan(sweeper_settings(job.config), job, [*FIXED, *SEARCH])
        yield Composer(plan, job), plan, job


def expected(swept, parameters, number):
    _, plan, job = swept
    overrides = [as_override(*item) for item in parameters.items()]
    return compose(job, [*plan.trial_overrides, *plan.fixed, *overrides], plan.folder, str(number))


@pytest.mark.parametrize(("number", "parameters"), list(enumerate(TRIALS)))
def test_each_trial_is_as_hydra_composes_it(swept, number, parameters):
    composer, _, _ = swept
    for first in TRIALS:
        composer.trial(first, 99)
    assert composer.trial(parameters, number) == expected(swept, parameters, number)


def test_changes_of_a_run_do_not_affect_the_next(swept):
    composer, _, _ = swept
    config = composer.trial(TRIALS[0], 0)
    OmegaConf.set_struct(config, False)
    config.seed, config.stage.own = 7, 1
    assert composer.trial(TRIALS[0], 0) == expected(swept, TRIALS[0], 0)


def test_an_option_is_composed_from_its_files(swept):
    composer, _, _ = swept
    for number, model in enumerate(("minilm", "bertweet", "minilm")):
        parameters = {"model": model, "seed": number}
        config = composer.trial(parameters, number)
        assert config.model.name_or_path == {"minilm": "bundled", "bertweet": "vinai/bertweet-base"}[model]
        assert config == expected(swept, parameters, number)


def test_several_options_and_none(swept):
    composer, _, _ = swept
    for number, value in enumerate(("[logits,hidden]", "logits")):
        config = composer.trial({"distiller": value}, number)
        assert set(config.distiller) == set(value.strip("[]").split(","))
    assert composer.trial({"model@student": "roberta_tiny"}, 2).student is not None
    assert composer.trial({"model@student": None}, 3).student is None


@pytest.mark.parametrize("value", ["[1,2]", "{a:1}"])
def test_lists_and_mappings_are_composed_from_files(swept, value):
    composer, _, _ = swept
    for text in ("[3,4,5]", "{b:2}", value):
        parameters = {"+own.part": text, "seed": 1}
        assert composer.trial(parameters, 1) == expected(swept, parameters, 1)


def test_files_are_read_once_for_trials_of_the_same_keys(swept, monkeypatch):
    composer, _, job = swept
    composer.trial(TRIALS[0], 0)
    reads = []
    loader = type(job.hydra_context.config_loader)
    monkeypatch.setattr(loader, "load_sweep_config", lambda *_: reads.append(1))
    for number in range(5):
        composer.trial(TRIALS[0] | {"seed": number}, number)
    assert reads == []


def test_overrides_stay_as_they_were_typed(swept, monkeypatch):
    monkeypatch.setenv("SOME_PLACE", "/home/hunter2")
    for seed in range(2):
        hydra = swept[0].trial({"seed": seed}, seed).hydra
        assert "cache_dir=${oc.env:SOME_PLACE,cache}" in OmegaConf.to_container(hydra.overrides.task, resolve=False)
        assert "hunter2" not in OmegaConf.to_yaml(hydra)


def test_a_missing_key_is_reported_in_one_line(swept):
    with pytest.raises(ConfigError, match=r"stage\.learning_rat: no such key; did you mean 'learning_rate'"):
        swept[0].trial({"stage.learning_rat": 1.0}, 0)


@pytest.mark.parametrize("text", ["plain", "it's", "back\\slash", "at the end\\", "\\'", "a, b = c", ""])
def test_quotes_survive(swept, text):
    _, plan, job = swept
    assert compose(job, [override_of("model.revision", text)], plan.folder, "0").model.revision == text
