"""Planning from a command line with the real configuration, and errors in one line."""

import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chirplet.sweep.plan.plan import Constraint
from chirplet.system.error import ConfigError
from chirplet.system.error_messages import explain

SWEEPER = ["hydra/sweeper=optuna"]
RATE = "stage.learning_rate=interval(1e-5,1e-3)"
USER_SPACE = "hydra.sweeper.custom_search_space=user_space.more"
SECRET = "postgresql://me:hunter2@host/sweeps"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def user_space(tmp_path_factory, monkeypatch):
    """A module of the user."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "user_space.py").write_text(
        "import subprocess\nfrom os import system\n\n\nclass Space: ...\n\n\ndef more(config, trial): ...\n"
    )
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("user_space", None)


def refused(planned, *overrides):
    """The error of a command line."""
    with pytest.raises((ConfigError, HydraException)) as refusal:
        planned(*overrides)
    message, code = explain(refusal.value)
    assert "\n" not in message and "hunter2" not in message and code == 2
    return message


class TestSpace:
    def test_from_the_search_and_the_command_line(self, planned):
        plan = planned("search=finetune", "data.split_seed=1,2", "stage.batch_size=64", "model.max_length=40")
        assert plan.space["stage.learning_rate"] == FloatDistribution(1e-5, 1e-3, log=True)
        assert plan.space["stage.layers"] == CategoricalDistribution([0, 1, 2, 3, "all"])
        assert plan.space["data.split_seed"] == CategoricalDistribution([1, 2])
        assert plan.fixed[:3] == ("stage=finetune", "trainer.max_epochs=5", "stage.method=last_layers")
        assert plan.fixed[3:] == ("search=finetune", "stage.batch_size=64", "model.max_length=40")
        assert "stage.batch_size" not in plan.space
        assert plan.sampler.arguments["n_startup_trials"] == 4
        assert plan.trial_overrides[:2] == ("stage.evaluate_train=false", "stage.evaluate_test=false")
        # The enqueued points do not override values fixed on the command line.
        assert [set(point) for point in plan.enqueue] == [set(plan.space) - {"data.split_seed"}]

    def test_a_search_on_the_command_line(self, planned):
        plan = planned(*SWEEPER, RATE, "model=minilm,bertweet", "stage.batch_size=range(16,65,16)")
        assert plan.space == {
            "stage.learning_rate": FloatDistribution(1e-5, 1e-3),
            "model": CategoricalDistribution(["minilm", "bertweet"]),
            "stage.batch_size": IntDistribution(16, 64, step=16),
        }
        assert plan.fixed == ("stage=finetune",)
        assert (plan.objectives, plan.directions, plan.from_record) == (("val/f1_macro",), ("maximize",), False)
        assert (plan.n_trials, plan.enqueue, plan.constraints) == (20, (), ())

    @pytest.mark.parametrize(
        "overrides",
        [["distiller=[logits,hidden],logits"], ["hydra.sweeper.params={distiller:'choice([logits,hidden],logits)'}"]],
    )
    def test_several_options_at_once(self, planned, overrides):
        plan = planned(*SWEEPER, "hydra.sweeper.enqueue=[{distiller:[logits,hidden]}]", *overrides)
        assert plan.space["distiller"] == CategoricalDistribution(["[logits,hidden]", "logits"])
        assert plan.enqueue == ({"distiller": "[logits,hidden]"},)
        wrong = refused(planned, *SWEEPER, "distiller=[logits,hiden],logits")
        assert wrong.startswith("distiller: got 'hiden', should be one of ") and wrong.endswith("mean 'hidden'?")

    def test_lists_mappings_and_null(self, planned):
        plan = planned(*SWEEPER, "stage.class_weights=[1.0,2.0],null,balanced", "+own={a: 1},{a: 2}")
        assert plan.space == {
            "stage.class_weights": CategoricalDistribution(["[1.0,2.0]", None, "balanced"]),
            "+own": CategoricalDistribution(["{a:1}", "{a:2}"]),
        }

    def test_what_the_command_line_searches_is_not_fixed(self, planned):
        plan = planned("search=finetune", "stage.method=last_layers,full", "hydra.sweeper.enqueue=[]")
        assert plan.space["stage.method"] == CategoricalDistribution(["last_layers", "full"])
        assert "stage.method=last_layers" not in plan.fixed

    def test_a_value_among_the_parameters_keeps_its_type(self, planned):
        params = {
            "seed": 7,
            "trainer.precision": None,
            "deterministic": True,
            "stage.weight_decay": 1e-5,
            "model": "bertweet",
        }
        written = "{seed:7,trainer.precision:null,deterministic:true,stage.weight_decay:1e-5,model:bertweet}"
        plan = planned(*SWEEPER, RATE, f"hydra.sweeper.params={written}")
        fixed = OverridesParser.create().parse_overrides(list(plan.fixed))
        assert {override.key_or_group: override.value() for override in fixed} == params | {"stage": "finetune"}

    def test_without_a_search_space_it_is_refused(self, planned):
        assert refused(planned, *SWEEPER, "seed=1").startswith("hydra.sweeper.params: nothing is searched; set KEY=")

    @pytest.mark.usefixtures("user_space")
    def test_a_custom_search_space_suffices(self, planned):
        plan = planned(*SWEEPER, USER_SPACE)
        assert (plan.space, plan.custom_search_space) == ({}, "user_space.more")

    @pytest.mark.parametrize(
        "target",
        [
            *(
                "os.system",
                "posix.system",
                "subprocess.run",
                "builtins.eval",
                "__builtins__.exec",
                "antigravity.geohash",
            ),
            *("hydra.utils.get_method", "numpy.load", "torch.load", "torch.os.system", "torch.hub.load"),
            *(
                "chirplet.system.atomic_io.remove_leftovers",
                "chirplet_sweeper.f",
                "system",
                ".os.system",
                "''",
                "user_space.system",
            ),
            *(
                "user_space.subprocess.run",
                "user_space.Space",
                "user_space.nowhere",
                "user_space.nowhere.f",
                "nowhere.f",
            ),
        ],
    )
    @pytest.mark.usefixtures("user_space")
    def test_a_function_outside_user_modules_is_refused(self, planned, target):
        message = refused(planned, *SWEEPER, f"hydra.sweeper.custom_search_space={target}")
        assert message.startswith("hydra.sweeper.custom_search_space: got ")
        assert "\n" not in message


class TestPoints:
    def test_they_are_in_the_plan(self, planned):
        (point,) = planned("search=finetune").enqueue
        assert point["stage.layers"] == "all" and point["stage.learning_rate"] == 1e-4

    @pytest.mark.parametrize(
        ("point", "reason"),
        [
            ("stage.learning_rate:1.0", "hydra.sweeper.enqueue[0].stage.learning_rate: got 1.0, should lie in "),
            ("stage.rate:1e-4", "hydra.sweeper.enqueue[0].stage.rate: is not searched, should be one of stage.learn"),
        ],
    )
    def test_points_outside_the_space_are_refused(self, planned, point, reason):
        assert refused(planned, *SWEEPER, RATE, f"hydra.sweeper.enqueue=[{{{point}}}]").startswith(reason)


class TestKeys:
    @pytest.mark.parametrize(
        "override", ["stage.learning_rat=interval(0,1)", "hydra.sweeper.params={stage.learning_rat:'interval(0,1)'}"]
    )
    def test_a_searched_one_that_does_not_exist_is_named(self, planned, override):
        assert "stage.learning_rat: no such key; did you mean 'learning_rate'?" in refused(planned, *SWEEPER, override)

    def test_so_is_a_fixed_one(self, planned):
        assert "stage.learning_rat: no such key" in refused(planned, *SWEEPER, RATE, "stage.learning_rat=1e-4")

    def test_a_searched_option_that_does_not_exist_is_named(self, planned):
        assert "model: got 'bertwet', should be one of" in refused(planned, *SWEEPER, "model=minilm,bertwet")

    def test_an_invalid_override_is_reported_in_one_line(self, planned):
        message = refused(planned, *SWEEPER, RATE, "hydra.sweeper.params={stage.batch_size:'choice(1,'}")
        assert "stage.batch_size=choice(1," in message

    @pytest.mark.parametrize("name", ["+own", "++stage.batch_size"])
    def test_one_may_be_added(self, planned, name):
        assert list(planned(*SWEEPER, f"{name}=1,2").space) == [name]


class TestGoal:
    def test_the_objective_is_what_a_run_returns(self, planned):
        plan = planned(*SWEEPER, RATE, "objective=val/loss")
        assert (plan.objectives, plan.directions, plan.from_record) == (("val/loss",), ("minimize",), False)

    def test_metrics_are_read_from_the_record(self, planned):
        plan = planned(*SWEEPER, RATE, "hydra.sweeper.metrics=[val/accuracy,cost/mb]")
        assert (plan.objectives, plan.from_record) == (("val/accuracy", "cost/mb"), True)
        assert plan.directions == ("maximize", "minimize")
        assert planned(*SWEEPER, RATE, "hydra.sweeper.metrics=val/loss").directions == ("minimize",)

    def test_those_of_a_label_may_be_objectives_and_constraints(self, planned):
        metrics = "hydra.sweeper.metrics=[val/recall_negative,train/mcc]"
        plan = planned(*SWEEPER, RATE, metrics, "hydra.sweeper.constraints=['val/precision_negative >= 0.5']")
        assert plan.directions == ("maximize", "maximize")
        message = refused(planned, *SWEEPER, RATE, "hydra.sweeper.metrics=val/macro")
        assert "got 'val/macro', should be one of val/accuracy, " in message and "val/f1_LABEL" in message

    def test_directions_may_be_given(self, planned):
        assert planned(*SWEEPER, RATE, "hydra.sweeper.direction=minimize").directions == ("minimize",)
        metrics = "hydra.sweeper.metrics=[val/accuracy,cost/mb]"
        plan = planned(*SWEEPER, RATE, metrics, "hydra.sweeper.direction=[minimize,maximize]")
        assert plan.directions == ("minimize", "maximize")

    def test_each_metric_has_one(self, planned):
        metrics = "hydra.sweeper.metrics=[val/accuracy,cost/mb]"
        message = refused(planned, *SWEEPER, RATE, metrics, "hydra.sweeper.direction=maximize")
        assert message == "hydra.sweeper.direction: got 1 directions for 2 metrics (val/accuracy, cost/mb)"
        assert "should be 'maximize' or 'minimize'" in refused(planned, *SWEEPER, RATE, "hydra.sweeper.direction=up")

    def test_constraints_are_read(self, planned):
        plan = planned(*SWEEPER, RATE, "hydra.sweeper.constraints=['cost/mb <= 25']")
        assert plan.constraints == (Constraint("cost/mb <= 25", "cost/mb", "<=", 25.0),)
        message = refused(planned, *SWEEPER, RATE, "hydra.sweeper.constraints=['cost/mb <= 25','cost/mb']")
        assert message.startswith("hydra.sweeper.constraints[1]: got 'cost/mb', should be METRIC <= NUMBER")


class TestTestSplit:
    @pytest.mark.parametrize(
        "override",
        [
            "hydra.sweeper.metrics=test/f1_macro",
            "hydra.sweeper.metrics=[val/f1_macro,test/accuracy]",
            "hydra.sweeper.constraints=['test/accuracy >= 0.6']",
        ],
    )
    def test_its_metrics_are_refused(self, planned, override):
        assert "should not be a metric of the test split" in refused(planned, *SWEEPER, RATE, override)

    def test_no_trial_evaluates_it(self, planned):
        message = refused(planned, "search=finetune", "stage.evaluate_test=true")
        assert message.startswith("stage.evaluate_test: got true, should be false in a search")

    def test_searching_the_switch_is_refused(self, planned):
        message = refused(planned, *SWEEPER, RATE, "stage.evaluate_test=true,false")
        assert "stage.evaluate_test" in message and "test split" in message

    def test_a_search_does_not_evaluate_it_by_default(self, planned):
        assert "stage.evaluate_test=false" in planned(*SWEEPER, RATE).trial_overrides


class TestName:
    def test_it_is_the_same_for_the_same_command(self, planned):
        first, second = (planned("search=finetune").study_name for _ in range(2))
        assert first == second and first.startswith("finetune-") and len(first) == len("finetune-") + 8

    def test_without_a_search_of_a_name(self, planned):
        assert planned(*SWEEPER, RATE).study_name.startswith("sweep-")

    @pytest.mark.parametrize(
        "override",
        [
            "model=bertweet",
            "stage.warmup_fraction=interval(0,0.1)",
            "hydra.sweeper.direction=minimize",
            "hydra.sweeper.metrics=val/accuracy",
            "hydra.sweeper.constraints=['cost/mb <= 25']",
            "hydra.sweeper.trial_overrides=['stage.evaluate_test=false','trainer.max_epochs=1']",
        ],
    )
    def test_another_search_has_another(self, planned, override):
        assert planned(*SWEEPER, RATE, override).study_name != planned(*SWEEPER, RATE).study_name

    @pytest.mark.parametrize(
        "overrides",
        [
            ["hydra.sweeper.n_trials=99", "hydra.sweeper.n_jobs=2", "hydra.sweeper.lease_s=5"],
            ["hydra/sweeper/sampler=brute_force"],
            ["hydra.sweeper.refit=true", "hydra.sweep.dir=elsewhere"],
        ],
    )
    def test_it_does_not_depend_on_how_the_search_is_run(self, planned, overrides):
        search = [*SWEEPER, "stage.batch_size=16,32"]
        assert planned(*search, *overrides).study_name == planned(*search).study_name

    def test_however_a_number_is_written(self, planned):
        assert planned(*SWEEPER, RATE.replace("1e-5", "0.00001")).study_name == planned(*SWEEPER, RATE).study_name

    def test_it_may_be_given(self, planned):
        plan = planned(*SWEEPER, RATE, "hydra.sweeper.study_name=own")
        assert (plan.study_name, plan.folder.name) == ("own", "own")

    def test_what_is_shuffled_is_the_same_every_time(self, planned):
        shuffled = "stage.batch_size=shuffle(choice(16,32,48,64,80,96,112,128))"
        assert len({planned(*SWEEPER, shuffled).study_name for _ in range(3)}) == 1

    def test_it_does_not_depend_on_secrets_and_local_paths(self, planned, here):
        plan = planned(*SWEEPER, RATE, f"cache_dir={here}")
        assert str(here) not in str(plan.identity()) and "cache_dir" not in plan.config
        assert plan.study_name == planned(*SWEEPER, RATE).study_name


class TestLocation:
    def test_a_folder_is_named_after_the_study(self, planned, here):
        plan = planned(*SWEEPER, RATE)
        assert plan.folder == here / "multirun" / plan.study_name
        assert plan.storage == str(plan.folder / "study.journal")

    @pytest.mark.parametrize("folder", ["own/place", "{here}/own/place", "~/own/place"])
    def test_a_folder_may_be_given(self, planned, here, monkeypatch, folder):
        monkeypatch.setenv("HOME", str(here))
        plan = planned(*SWEEPER, RATE, f"hydra.sweep.dir='{folder.format(here=here)}'")
        assert plan.folder == here / "own" / "place"
        assert plan.storage == str(here / "own" / "place" / "study.journal")

    @pytest.mark.parametrize(
        ("storage", "expected"),
        [
            ("own.journal", "{here}/own.journal"),
            ("{here}/a/own.journal", "{here}/a/own.journal"),
            ("sqlite:////tmp/own.db", "sqlite:////tmp/own.db"),
            ("postgresql://host/sweeps", "postgresql://host/sweeps"),
            ("postgresql://me@host:5433/sweeps", "postgresql://me@host:5433/sweeps"),
        ],
    )
    def test_a_storage_may_be_given(self, planned, here, storage, expected):
        plan = planned(*SWEEPER, RATE, f"hydra.sweeper.storage='{storage.format(here=here)}'")
        assert plan.storage == expected.format(here=here)
        assert list(here.iterdir()) == [], "to plan is not to make"

    @pytest.mark.parametrize("storage", ["mysql://host/sweeps", "postgresql+nonsense://host/sweeps", "://"])
    def test_an_invalid_storage_is_reported_before_the_start(self, planned, storage):
        message = refused(planned, *SWEEPER, RATE, f"hydra.sweeper.storage='{storage}'")
        assert message.startswith("hydra.sweeper.storage: ")


class TestPassword:
    @pytest.mark.parametrize(
        "storage",
        [
            SECRET,
            "postgresql+psycopg://me:hunter2@host/sweeps",
            "postgresql://host/sweeps?user=me&password=hunter2",
            "postgresql://me:hunter2@${oc.env:SWEEPS_HOST}/sweeps",
        ],
    )
    def test_in_the_command_line_is_refused(self, planned, monkeypatch, storage):
        monkeypatch.setenv("SWEEPS_HOST", "host")
        message = refused(planned, *SWEEPER, RATE, f"hydra.sweeper.storage='{storage}'")
        assert message.startswith("hydra.sweeper.storage: contains a password, which would be logged; set ")

    @pytest.mark.parametrize(
        "storage",
        ["${oc.env:SWEEPS}", "postgresql://me:${oc.env:SWEEPS_PASSWORD}@host/sweeps", "${oc.env:SWEEPS,null}"],
    )
    def test_in_the_environment_stays_there(self, planned, monkeypatch, storage):
        monkeypatch.setenv("SWEEPS", SECRET)
        monkeypatch.setenv("SWEEPS_PASSWORD", "hunter2")
        plan = planned(*SWEEPER, RATE, f"hydra.sweeper.storage='{storage}'")
        assert plan.storage == storage
        assert "hunter2" not in repr(plan)

    def test_a_journal_s_path_may_be_in_the_environment(self, planned, here, monkeypatch):
        monkeypatch.setenv("SWEEPS", "own.journal")
        plan = planned(*SWEEPER, RATE, "hydra.sweeper.storage=${oc.env:SWEEPS}")
        assert plan.storage in ("${oc.env:SWEEPS}", str(here / "own.journal"))


class TestTrials:
    def test_there_are_no_more_than_points(self, planned):
        overrides = [*SWEEPER, "hydra/sweeper/sampler=grid", "stage.batch_size=16,32,64", "seed=range(2)"]
        assert planned(*overrides).n_trials == 6
        assert planned(*overrides, "hydra.sweeper.n_trials=5").n_trials == 5
        assert planned(*overrides, "hydra.sweeper.n_trials=600").n_trials == 6

    def test_other_samplers_never_end(self, planned):
        assert planned(*SWEEPER, "stage.batch_size=16,32", "hydra.sweeper.n_trials=50").n_trials == 50

    def test_an_interval_is_refused_by_a_grid(self, planned):
        message = refused(planned, *SWEEPER, "hydra/sweeper/sampler=grid", RATE)
        assert message.startswith("stage.learning_rate: got an interval, should have finitely many values")

    @pytest.mark.usefixtures("user_space")
    def test_a_function_that_searches_may_add_to_the_points(self, planned):
        overrides = ["hydra/sweeper/sampler=brute_force", USER_SPACE]
        assert planned(*SWEEPER, *overrides, "stage.batch_size=16,32").n_trials == 20


def test_every_error_in_the_settings_is_reported(planned):
    with pytest.raises(ConfigError) as refusal:
        planned(*SWEEPER, RATE, "hydra.sweeper.n_trials=0", "hydra.sweeper.lease_s=-1", "hydra.sweeper.storage=3")
    keys = [line.partition(":")[0] for line in str(refusal.value).splitlines()]
    assert keys == ["hydra.sweeper.n_trials", "hydra.sweeper.storage", "hydra.sweeper.lease_s"]


def test_several_workers_need_separate_processes(planned):
    message = refused(planned, *SWEEPER, RATE, "hydra.sweeper.isolate=false", "hydra.sweeper.n_jobs=2")
    assert message == "hydra.sweeper.n_jobs: got 2, should be 1 with isolate=false"


def test_planning_writes_nothing_and_keeps_the_working_directory(planned, here):
    planned("search=finetune")
    assert Path.cwd() == here and list(here.iterdir()) == []
