"""The best trials are feasible, and the experiment file composes to the trial's configuration."""

import dataclasses
import math
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.result.best import best_command, best_trial, experiment_text, front, write_best
from chirplet.system.error import ConfigError
from places import CONF

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def make_plan(*directions):
    """A plan with these directions, the only part that matters here."""
    return Plan(**{field.name: None for field in dataclasses.fields(Plan)} | {"directions": directions})


def study_of(directions, *trials):
    """A study in memory of (values, excess over a bound, state)."""
    study = optuna.create_study(directions=directions)
    for values, excess, state in trials:
        trial = create_trial(
            state=state,
            values=values,
            params={"x": 0.5},
            distributions={"x": FloatDistribution(0, 1)},
            constraints=None if excess is None else {"cost/mb <= 25": excess},
        )
        study.add_trial(trial)
    return study


def numbers(trials):
    return [trial.number for trial in trials]


class TestBestTrial:
    @pytest.mark.parametrize(("direction", "number"), [("maximize", 2), ("minimize", 1)])
    def test_the_best_value_in_its_direction(self, direction, number):
        study = study_of([direction], ([0.5], None, COMPLETE), ([0.3], None, COMPLETE), ([0.7], None, COMPLETE))
        assert best_trial(study, make_plan(direction)).number == number

    def test_a_better_trial_beyond_a_bound_does_not_count(self):
        study = study_of(["maximize"], ([0.9], 0.1, COMPLETE), ([0.6], 0.0, COMPLETE), ([0.5], -3.0, COMPLETE))
        assert best_trial(study, make_plan("maximize")).number == 1

    def test_a_pruned_trial_does_not_count(self):
        study = study_of(["maximize"], ([0.9], None, PRUNED), (None, None, FAIL), ([0.2], None, COMPLETE))
        study.ask()
        assert best_trial(study, make_plan("maximize")).number == 2

    def test_of_equal_trials_the_first(self):
        study = study_of(["maximize"], ([0.1], None, COMPLETE), ([0.6], None, COMPLETE), ([0.6], None, COMPLETE))
        assert best_trial(study, make_plan("maximize")).number == 1

    @pytest.mark.parametrize("trials", [[], [([0.9], 1.0, COMPLETE), ([0.9], None, PRUNED), (None, None, FAIL)]])
    def test_there_may_be_none(self, trials):
        assert best_trial(study_of(["maximize"], *trials), make_plan("maximize")) is None


class TestFront:
    def test_nondominated_feasible_trials(self):
        study = study_of(
            ["maximize", "minimize"],
            ([0.6, 10.0], -1.0, COMPLETE),
            ([0.8, 30.0], -1.0, COMPLETE),
            ([0.7, 40.0], -1.0, COMPLETE),  # trial 1 is better in both
            ([0.9, 5.0], 2.0, COMPLETE),  # would dominate all, but is infeasible
            ([0.5, 10.0], -1.0, COMPLETE),  # trial 0 is as quick and better
            ([0.7, 20.0], 0.0, COMPLETE),
            (None, None, PRUNED),
            (None, None, FAIL),
        )
        assert numbers(front(study, make_plan("maximize", "minimize"))) == [1, 5, 0]

    def test_only_infeasible_trials_give_none(self):
        study = study_of(["maximize", "minimize"], ([0.6, 10.0], 1.0, COMPLETE))
        assert front(study, make_plan("maximize", "minimize")) == []

    def test_the_order_is_that_of_the_first_objective(self):
        study = study_of(["minimize", "maximize"], ([3.0, 9.0], None, COMPLETE), ([1.0, 2.0], None, COMPLETE))
        assert numbers(front(study, make_plan("minimize", "maximize"))) == [1, 0]


def is_group(key: str) -> bool:
    return (CONF / key).is_dir()


def text_of(*overrides: str, heading=()) -> str:
    return experiment_text(OverridesParser.create().parse_overrides(list(overrides)), is_group, heading)


def compose_with(folder: Path, *overrides: str):
    """Compose the real configuration with another folder, as `--config-dir` does."""
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("config", overrides=["stage=finetune", *overrides, f"hydra.searchpath=[file://{folder}]"])


def typed(value):
    """Plain data in which 1, 1.0, True and nan differ."""
    if isinstance(value, dict):
        return {(type(key), key): typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), repr(value)


def plain(config):
    return typed(OmegaConf.to_container(config, resolve=False))


COMMANDS = {
    "scalars": [
        *("stage.learning_rate=1e-05", "stage.layer_decay=1.0", "seed=7", "deterministic=true", "objective=null"),
        *("input='null'", "output='yes'", "artifact='1_000'", "resume='2020-01-01'", "cache_dir=${oc.env:HOME}/x"),
        *("model=local", "model.name_or_path='a b: #c'", "model.revision='1e5'"),
    ],
    "lists and mappings": [
        *("stage.class_weights=[1.0,2e-3,3]", "data=csv", "data.train=a.csv", "+data.names=[a,'b c',[null,true]]"),
        *("+extra={a: {b: 1}, c: [1e-9]}", "+extra.a.d=x", "stage={batch_size: 8}", "++extra.none={}"),
    ],
    "the later counts": ["stage.batch_size=8", "model=bertweet", "stage.batch_size=16", "model=roberta_tiny"],
    "groups": ["model=roberta_tiny", "data=tweet_eval", "callback=[early_stopping,checkpoint]", "model.dropout=0.2"],
    "parts switched off": ["~logger", "logger=tensorboard", "~trainer=default", "callback.early_stopping=null"],
    "an added group": ["+model@other=bertweet", "+other.extra=1", "other.dropout=0.3", "model@other=minilm"],
    "an experiment to build on": ["experiment=corona_minilm", "stage.label_smoothing=0.2"],
    "another choice than its own": ["experiment=[corona_minilm]", "data=csv", "data.train=a.csv"],
    "an experiment and an added group": ["+model@other=minilm", "experiment=corona_minilm"],
}


class TestExperimentText:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_it_composes_like_the_overrides(self, command, compose_config, tmp_path):
        overrides = COMMANDS[command]
        write_best(tmp_path, text_of(*overrides))
        assert plain(compose_with(tmp_path, "experiment=tuned")) == plain(compose_config(*overrides))

    def test_without_overrides_it_is_empty(self, compose_config, tmp_path):
        write_best(tmp_path, text_of())
        assert compose_with(tmp_path, "experiment=tuned") == compose_config()

    def test_it_reads_well(self):
        overrides = ["+stage.extra=[a,1]", "stage.learning_rate=1e-5", "seed=1", "~logger", "model=bertweet"]
        assert text_of(*overrides, heading=["Trial 3", "of 12"]).splitlines() == [
            "# @package _global_",
            "# Trial 3",
            "# of 12",
            "defaults:",
            "- override /model: bertweet",
            "- override /logger: null",
            "stage:",
            "  extra:",
            "  - a",
            "  - 1",
            "  learning_rate: 1.0e-05",
            "seed: 1",
        ]

    def test_overrides_of_launch_and_search_are_left_out(self):
        overrides = ["hydra.sweeper.n_trials=3", "hydra/launcher=basic", "+search=wide", "search.x=1", "seed=1"]
        text = experiment_text(OverridesParser.create().parse_overrides(overrides), lambda key: True, [])
        # All keys except the excluded ones would have been treated as groups.
        assert "launcher" not in text and "search" not in text and "sweeper" not in text
        assert "override /seed: 1" in text

    def test_a_heading_is_a_comment(self, compose_config, tmp_path):
        heading = ["@package model", "two\n@lines: [", "bell \x07, line\x85break"]
        write_best(tmp_path, text_of("seed=7", heading=heading))
        assert compose_with(tmp_path, "experiment=tuned") == compose_config("seed=7")

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("~stage.final", "~stage.final: an experiment file cannot delete a key; try stage.final=null"),
            ("data.sizes.0=3", "data.sizes.0=3: an experiment file cannot set one item of a list; set the whole list"),
            ("seed=1,2", "seed=1,2: an experiment file has one value for each key, not a sweep"),
            (
                "experiment=tuned",
                "experiment=tuned: tuned is the name of the file that the sweep writes; copy it to another name",
            ),
        ],
    )
    def test_inexpressible_overrides_are_refused(self, override, message):
        with pytest.raises(ConfigError) as error:
            text_of("model=minilm", override)
        assert str(error.value) == message

    def test_a_missing_option_is_still_an_error(self, tmp_path):
        write_best(tmp_path, text_of("+model@teacher=bertweet", "~data"))
        with pytest.raises(ConfigCompositionException):
            compose_with(tmp_path, "experiment=tuned", "model@pupil=minilm")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.from_regex(r"\A[-+0-9._:eE~]+\Z")
keys = st.text(min_size=1) | st.integers() | st.booleans() | st.floats(allow_nan=False)


class TestValues:
    """Every value is read back with its type."""

    @settings(deadline=None, max_examples=100)
    @given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)))
    def test_by_hydras_parser(self, value):
        assume("${" not in repr(value))  # OmegaConf parses these before they are ever written
        override = OverridesParser.create().parse_override("a.b=1")
        override._value = value
        text = experiment_text([override], lambda key: False, [])
        read = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        assert typed(read) == typed({"a": {"b": value}})

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            ("1e-05", "1.0e-05"),
            ("1e300", "1.0e+300"),
            ("-inf", "-.inf"),
            ("'1e-05'", '"1e-05"'),
            ("'1.0_e5'", '"1.0_e5"'),
            ("'No'", "'No'"),
            ("org/model-1.0", "org/model-1.0"),
            ("NULL", "null"),
            ("TRUE", "true"),
            ("'größe ☃'", '"größe ☃"'),
            (r"'\n'", r'"\\n"'),
            ("", '""'),
        ],
    )
    def test_as_they_are_written(self, value, written):
        assert text_of(f"+x={value}") == f"# @package _global_\nx: {written}\n"

    def test_nan_too(self):
        assert math.isnan(OmegaConf.create(text_of("+x=nan")).x)


class TestBestCommand:
    @pytest.mark.parametrize(
        ("sources", "command"),
        [
            ([], "chirplet --config-dir multirun/a experiment=tuned"),
            (
                [("file", "/own", "command-line")],
                "chirplet --config-dir /own 'hydra.searchpath=[\"file://{here}/multirun/a\"]' experiment=tuned",
            ),
            (
                [("pkg", "own", "hydra.searchpath in command-line")],
                "chirplet 'hydra.searchpath=[\"file://{here}/multirun/a\",pkg://own]' experiment=tuned",
            ),
        ],
    )
    def test_the_options_of_the_user_are_found_again(self, sources, command, tmp_path, monkeypatch):
        here = tmp_path / "a=b"
        here.mkdir()
        monkeypatch.chdir(here)
        known = [("pkg", "hydra.conf", "hydra"), ("file", "/conf", "main"), *sources]
        known = [dict(zip(("schema", "path", "provider"), source, strict=True)) for source in known]
        config = OmegaConf.create({"hydra": {"runtime": {"config_sources": known}}})
        assert best_command(here / "multirun" / "a", config) == command.format(here=here)


class TestWriteBest:
    def test_hydra_finds_the_file(self, tmp_path):
        path = write_best(tmp_path, "seed: 1\n")
        assert path == tmp_path / "experiment" / "tuned.yaml"
        assert path.read_text() == "seed: 1\n"

    def test_an_earlier_file_is_replaced(self, tmp_path):
        write_best(tmp_path, "seed: 1\n")
        path = write_best(tmp_path, "größe: 2\n")
        assert path.read_text(encoding="utf-8") == "größe: 2\n"
        assert [file.name for file in path.parent.iterdir()] == ["tuned.yaml"]
