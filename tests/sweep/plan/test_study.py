"""All workers share one study, and draws depend on the trial, not on the order."""

import re
import tracemalloc
from functools import partial

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner, PatientPruner, ThresholdPruner
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from chirplet.config.schema import bind
from chirplet.sweep.plan.plan import Constraint
from chirplet.sweep.plan.storage import open_storage
from chirplet.sweep.plan.study import Samplers, SweepStudy, grid, make_pruner, open_study, trials_possible
from chirplet.system.error import ConfigError

SPACE = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}
STEPS = {"a": CategoricalDistribution(["p", "q"]), "b": IntDistribution(1, 5, step=2), "c": IntDistribution(7, 7)}


def drawn(sampler, name="x", number=0):
    """The value that a sampler draws for a parameter of trial `number`."""
    study = optuna.create_study(sampler=sampler)
    for _ in range(number):
        study.tell(study.ask(), 0.0)
    return study.ask().suggest_float(name, 0.0, 1.0)


class TestSamplers:
    def samplers(self, foreign, name="RandomSampler", space=SPACE, **arguments):
        return Samplers(foreign(f"optuna.samplers.{name}", **arguments), space, 1)

    @pytest.mark.parametrize("name", ["RandomSampler", "TPESampler", "NSGAIISampler"])
    def test_the_same_seed_number_and_name_draw_the_same(self, foreign, name):
        samplers = self.samplers(foreign, name, seed=1)
        first = drawn(samplers.build(3, "x"))
        drawn(samplers.build(4, "y"))
        assert drawn(samplers.build(3, "x")) == first
        assert drawn(self.samplers(foreign, name, seed=1).build(3, "x")) == first

    @pytest.mark.parametrize("name", ["RandomSampler", "TPESampler", "NSGAIISampler"])
    def test_seed_number_and_name_count(self, foreign, name):
        one, other = self.samplers(foreign, name, seed=1), self.samplers(foreign, name, seed=2)
        values = {drawn(one.build(number, key)) for number in range(5) for key in ("", "x", "y")}
        values |= {drawn(other.build(number, key)) for number in range(5) for key in ("", "x", "y")}
        assert len(values) == 30

    def test_without_a_seed_draws_differ(self, foreign):
        for samplers in (self.samplers(foreign, seed=None), self.samplers(foreign)):
            assert len({drawn(samplers.build(0, "x")) for _ in range(5)}) == 5

    @pytest.mark.parametrize("seed", [7, None])
    def test_the_order_of_a_grid_is_fixed(self, foreign, seed):
        expected = {(a, b, 7) for a in "pq" for b in (1, 3, 5)}
        seen = []
        storage = InMemoryStorage()
        study = SweepStudy(optuna.create_study(storage=storage).study_name, storage)
        for number in range(6):
            samplers = self.samplers(foreign, "GridSampler", STEPS, seed=seed, search_space=None)
            study.sampler = samplers.build(number, "a")
            trial = study.ask(STEPS)
            seen.append(tuple(trial.params.values()))
            study.tell(trial, 0.0)
        assert set(seen) == expected

    def test_a_given_grid(self, foreign):
        samplers = self.samplers(foreign, "GridSampler", seed=1, search_space={"x": [0.25, 0.5], "y": [1.0]})
        study = optuna.create_study(sampler=samplers.for_trial(0))
        study.enqueue_trial({"x": 0.0, "y": 0.0})
        points = [study.ask(SPACE).params for _ in range(3)]
        assert sorted(tuple(point.values()) for point in points[1:]) == [(0.25, 1.0), (0.5, 1.0)]

    def test_another_class_is_refused(self, foreign):
        with pytest.raises(ConfigError, match="should name a BaseSampler"):
            Samplers(foreign("optuna.pruners.NopPruner"), SPACE, 1)

    def test_an_unknown_argument_is_named(self, foreign):
        with pytest.raises(ConfigError, match=r"'n_startup_trial'.*did you mean 'n_startup_trials'"):
            self.samplers(foreign, "TPESampler", seed=1, n_startup_trial=3).for_trial(0)

    def test_an_invalid_argument_is_reported_in_one_line(self, foreign):
        with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.part: .*population_size"):
            self.samplers(foreign, "NSGAIISampler", seed=1, population_size=1).for_trial(0)


class TestPruner:
    def test_a_nested_pruner(self):
        plain = {
            "_target_": "optuna.pruners.PatientPruner",
            "patience": 2,
            "wrapped_pruner": {"_target_": "optuna.pruners.ThresholdPruner", "upper": 5.0},
        }
        pruner = make_pruner(bind(plain, "hydra.sweeper.pruner"))
        assert isinstance(pruner, PatientPruner)
        assert isinstance(pruner._wrapped_pruner, ThresholdPruner) and pruner._patience == 2

    def test_arguments_arrive(self, foreign):
        pruner = make_pruner(foreign("optuna.pruners.MedianPruner", n_startup_trials=4, n_warmup_steps=2))
        assert isinstance(pruner, MedianPruner)
        assert (pruner._n_startup_trials, pruner._n_warmup_steps) == (4, 2)

    @pytest.mark.parametrize(
        ("target", "arguments", "reason"),
        [
            ("optuna.samplers.TPESampler", {}, "should name a BasePruner"),
            ("optuna.pruners.BestPruner", {}, "cannot be imported"),
            ("optuna.pruners.MedianPruner", {"n_startup": 4}, "unexpected keyword argument 'n_startup'"),
            ("optuna.pruners.PercentilePruner", {"percentile": 250.0}, "between 0 and 100"),
            ("optuna.pruners.PatientPruner", {"patience": 1}, "missing a required argument: 'wrapped_pruner'"),
        ],
    )
    def test_an_invalid_pruner_is_reported_in_one_line(self, foreign, target, arguments, reason):
        with pytest.raises(ConfigError, match=reason) as refusal:
            make_pruner(foreign(target, **arguments))
        assert str(refusal.value).startswith("hydra.sweeper.part") and "\n" not in str(refusal.value)


class TestGrid:
    def test_every_value_of_every_parameter(self):
        space = STEPS | {"f": FloatDistribution(0.0, 0.75, step=0.25), "n": CategoricalDistribution([None, True, 2])}
        expected = {"a": ["p", "q"], "b": [1, 3, 5], "c": [7], "f": [0.0, 0.25, 0.5, 0.75], "n": [None, True, 2]}
        assert grid(space) == expected

    def test_an_interval_is_refused(self):
        with pytest.raises(
            ConfigError, match=r"^x: got an interval, should have finitely many .* use choice\(...\) or range\(...\)"
        ):
            grid(SPACE)

    @pytest.mark.parametrize(
        ("name", "possible"),
        [("GridSampler", 6), ("BruteForceSampler", 6), ("TPESampler", None), ("QMCSampler", None)],
    )
    def test_trials_possible(self, foreign, name, possible):
        assert trials_possible(foreign(f"optuna.samplers.{name}", seed=1), STEPS) == possible

    def test_a_large_one_is_counted_without_being_made(self, foreign):
        space = {name: IntDistribution(1, 100) for name in "abc"}
        tracemalloc.start()
        try:
            assert trials_possible(foreign("optuna.samplers.BruteForceSampler"), space) == 1_000_000
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    def test_a_given_grid_is_counted(self, foreign):
        sampler = foreign("optuna.samplers.GridSampler", search_space={"x": [0.25, 0.5], "y": [1.0]})
        assert trials_possible(sampler, SPACE) == 2


class TestOpenStudy:
    @pytest.fixture
    def make_plan(self, make_plan, tmp_path):
        return partial(make_plan, study_name="study", storage=str(tmp_path / "study.journal"))

    def opened(self, plan):
        storage, lock = open_storage(plan.storage)
        return open_study(plan, storage, lock)

    def test_it_is_as_planned(self, make_plan):
        plan = make_plan(objectives=("val/f1_macro", "cost/mb"), directions=("maximize", "minimize"))
        study = self.opened(plan)
        assert study.study_name == "study"
        assert [direction.name.lower() for direction in study.directions] == ["maximize", "minimize"]
        assert study.metric_names == ["val/f1_macro", "cost/mb"]
        assert isinstance(study.pruner, optuna.pruners.NopPruner)

    def test_it_is_created_once(self, make_plan):
        study = self.opened(make_plan())
        study.tell(study.ask(), 1.0)
        assert len(self.opened(make_plan(n_trials=99)).trials) == 1

    def test_studies_share_a_storage(self, make_plan):
        self.opened(make_plan())
        assert self.opened(make_plan(study_name="other", config={"seed": 2})).trials == []

    def test_a_study_of_another_sweep_is_refused_with_the_differences(self, make_plan):
        self.opened(make_plan())
        changed = make_plan(
            config={"seed": 2, "model": {"dropout": 0.1}},
            objectives=("val/loss",),
            directions=("minimize",),
            constraints=(Constraint.parse("cost/mb <= 25", "KEY"),),
        )
        with pytest.raises(ConfigError) as refusal:
            self.opened(changed)
        assert str(refusal.value) == (
            "hydra.sweeper.study_name: a study 'study' of another sweep exists (config.model was None, is "
            "{'dropout': 0.1}; config.seed was 1, is 2; constraints was [], is ['cost/mb <= 25'] and 2 more); "
            "choose another name"
        )

    @pytest.mark.parametrize("config", [{"labels": {0: "bad", 1: "good"}}, {"rate": float("nan")}])
    def test_any_configuration_is_recognized(self, make_plan, config):
        first, again = (self.opened(make_plan(config=config)) for _ in range(2))
        assert again._study_id == first._study_id

    def test_an_interrupted_creation_is_completed(self, make_plan):
        plan = make_plan()
        storage, _ = open_storage(plan.storage)
        optuna.create_study(storage=storage, study_name="study", direction="maximize")
        self.opened(plan)
        with pytest.raises(ConfigError, match=re.escape("config.seed was 1, is 2")):
            self.opened(make_plan(config={"seed": 2}))

    def test_a_foreign_study_with_other_directions_is_refused(self, make_plan):
        plan = make_plan()
        storage, _ = open_storage(plan.storage)
        optuna.create_study(storage=storage, study_name="study", direction="minimize")
        with pytest.raises(ConfigError, match="direction"):
            self.opened(plan)

    def test_an_exhausted_sampler_does_not_end_it(self, make_plan, foreign):
        plan = make_plan(foreign("optuna.samplers.GridSampler", seed=1, search_space=None), space=STEPS)
        study = self.opened(plan)
        for _ in range(8):
            study.tell(study.ask(STEPS), 1.0)
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8
        # Optuna's study raises an error here.
        study_of_optuna = optuna.create_study(storage=InMemoryStorage(), sampler=study.sampler)
        with pytest.raises(RuntimeError, match="stop"):
            for _ in range(8):
                study_of_optuna.tell(study_of_optuna.ask(STEPS), 1.0)
