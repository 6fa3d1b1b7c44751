"""Constraints, directions, and the identity of a study."""

import dataclasses
import json

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chirplet.metric.names import METRICS
from chirplet.sweep.plan.plan import Constraint, Plan, differences, digest, natural_direction
from chirplet.system.error import ConfigError


class TestConstraint:
    @pytest.mark.parametrize(
        ("text", "metric", "sense", "bound"),
        [
            ("cost/mb <= 25", "cost/mb", "<=", 25.0),
            ("cost/mb<=25", "cost/mb", "<=", 25.0),
            ("  val/f1_macro   >=0.7 ", "val/f1_macro", ">=", 0.7),
            ("val/loss <= -1.5e-3", "val/loss", "<=", -0.0015),
            ("val/loss >= +.5", "val/loss", ">=", 0.5),
        ],
    )
    def test_it_is_read(self, text, metric, sense, bound):
        assert Constraint.parse(text, "KEY") == Constraint(text, metric, sense, bound)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "cost/mb", "cost/mb <=", "<= 25", "cost/mb < 25", "cost/mb == 25", "25 >= cost/mb"),
            *("cost/mb <= 25 mb", "cost/mb <= 1e", "cost/mb <= 1-2", "a b <= 1", "cost/mb <= 25 <= 30"),
        ],
    )
    def test_invalid_constraints_are_refused(self, text):
        with pytest.raises(ConfigError) as refusal:
            Constraint.parse(text, "hydra.sweeper.constraints[0]")
        should = "should be METRIC <= NUMBER or METRIC >= NUMBER"
        assert str(refusal.value) == f"hydra.sweeper.constraints[0]: got {text!r}, {should}"

    @pytest.mark.parametrize(
        ("text", "value", "excess"),
        [
            ("cost/mb <= 25", 30.0, 5.0),
            ("cost/mb <= 25", 25.0, 0.0),
            ("cost/mb <= 25", 20.0, -5.0),
            ("val/f1_macro >= 0.75", 0.5, 0.25),
            ("val/f1_macro >= 0.75", 0.75, 0.0),
            ("val/f1_macro >= 0.75", 1.0, -0.25),
        ],
    )
    def test_excess(self, text, value, excess):
        assert Constraint.parse(text, "KEY").excess(value) == excess


class TestDirection:
    @pytest.mark.parametrize(
        ("metric", "direction"),
        [
            ("val/f1_macro", "maximize"),
            ("val/accuracy", "maximize"),
            ("val/loss", "minimize"),
            ("val/calibration_error", "minimize"),
            ("cost/mb", "minimize"),
            ("cost/latency_ms_p50", "minimize"),
            ("cost/texts_per_s", "maximize"),
            ("value", "maximize"),
        ],
    )
    def test_natural_direction(self, metric, direction):
        assert natural_direction(metric) == direction

    def test_of_all_metrics_two_are_minimised(self):
        less = {metric for metric in METRICS if natural_direction(f"val/{metric}") == "minimize"}
        assert less == {"loss", "calibration_error"}


class TestIdentity:
    def changes(self, plan: Plan, **changes) -> bool:
        return dataclasses.replace(plan, **changes).identity() != plan.identity()

    @pytest.mark.parametrize(
        "change",
        [
            {"config": {"seed": 2}},
            {"space": {"x": FloatDistribution(0.0, 2.0)}},
            {"custom_search_space": "module.function"},
            {"objectives": ("val/loss",)},
            {"directions": ("minimize",)},
            {"constraints": (Constraint.parse("cost/mb <= 25", "KEY"),)},
        ],
    )
    def test_another_study(self, make_plan, change):
        assert self.changes(make_plan(), **change)

    def test_the_same_study(self, make_plan, tmp_path, foreign):
        changes = {"n_trials": 99, "lease_s": 1.0, "max_failure_rate": 0.0, "enqueue": ({"x": 0.5},)}
        changes |= {"storage": "sqlite:///a.db", "folder": tmp_path / "other", "study_name": "other"}
        changes |= {"sampler": foreign("optuna.samplers.TPESampler"), "pruner": foreign("optuna.pruners.MedianPruner")}
        assert not self.changes(make_plan(), **changes)

    def test_the_order_of_parameters_does_not_count(self, make_plan):
        plan = make_plan()
        assert not self.changes(plan, space=dict(reversed(plan.space.items())))

    @pytest.mark.parametrize("config", [{"seed": 1, "a": {"b": [1, None, "c"]}}, {"labels": {0: "bad", 1: "good"}}])
    def test_it_survives_a_storage(self, make_plan, config):
        identity = make_plan(config=config).identity()
        assert differences(json.loads(json.dumps(identity)), identity) == []

    def test_a_digest_identifies_a_study(self, make_plan):
        digests = {digest(make_plan(config={"seed": seed}).identity()) for seed in range(50)}
        assert len(digests) == 50 and all(int(text, 16) >= 0 and len(text) == 8 for text in digests)

    def test_a_digest_does_not_change_from_one_version_to_the_next(self):
        # Otherwise no sweep could be resumed after an update.
        assert digest({}) == "44136fa3", "the first digits of the SHA-256 of {}"
        assert digest({"b": [1, 2.5], "a": None}) == digest({"a": None, "b": [1, 2.5]}) == "6b1d8497"


class TestDifferences:
    def test_each_leaf_is_named(self):
        before = {
            "config": {"model": {"name": "minilm", "dropout": 0.1}},
            "space": {"x": 1},
            "directions": ["maximize"],
        }
        now = {"config": {"model": {"name": "bertweet", "dropout": 0.1}}, "space": {"y": 1}, "directions": ["minimize"]}
        assert list(differences(before, now)) == [
            "config.model.name was 'minilm', is 'bertweet'",
            "directions was ['maximize'], is ['minimize']",
            "space.x was 1, is None",
            "space.y was None, is 1",
        ]

    def test_between_equals_there_is_none(self):
        assert differences({"a": {"b": [1]}}, {"a": {"b": [1]}}) == []

    def test_a_value_that_became_a_mapping(self):
        assert list(differences({"a": 1}, {"a": {"b": 2}})) == ["a was 1, is {'b': 2}"]


@pytest.mark.parametrize(("rate", "trials", "allowed"), [(0.25, 20, 5), (0.25, 3, 0), (0.0, 9, 0), (1.0, 9, 9)])
def test_failures_allowed(make_plan, rate, trials, allowed):
    assert make_plan(max_failure_rate=rate, n_trials=trials).failures_allowed == allowed


def test_rounding_does_not_lose_a_failure(make_plan):
    assert make_plan(max_failure_rate=0.29, n_trials=100).failures_allowed == 29, "0.29 * 100 is 28.999999999999996"


def test_every_detail_of_a_space_counts(make_plan):
    spaces = [
        IntDistribution(1, 9),
        IntDistribution(1, 9, step=2),
        IntDistribution(1, 9, log=True),
        FloatDistribution(1, 9),
        FloatDistribution(1, 9, log=True),
        CategoricalDistribution([1, 9]),
        CategoricalDistribution([9, 1]),
    ]
    assert len({digest(make_plan(space={"x": space}).identity()) for space in spaces}) == len(spaces)
