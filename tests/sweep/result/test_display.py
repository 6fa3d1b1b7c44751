"""The output of a running sweep: lines worked out by hand, and a table without wrapped lines."""

import io
import math
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.cells import cell_len
from rich.console import Console

from chirplet.config.schema import Foreign
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.result.display import SweepDisplay, duration, fitted, last_parts, packed, shown
from chirplet.sweep.result.standing import estimate

START = datetime(2024, 5, 1, 12, 0, 0)
SPACE = {"stage.learning_rate": FloatDistribution(1e-5, 1e-2, log=True), "data.batch_size": IntDistribution(8, 64)}
PARAMS = {"stage.learning_rate": 0.000123456, "data.batch_size": 32}
ONE = ("val/f1_macro",)
TWO = ("val/f1_macro", "cost/latency_ms")


def make_plan(objectives=ONE, space=None, n_trials=12, study_name="corona-1a2b3c4d"):
    foreign = Foreign(target="optuna.samplers.TPESampler", arguments={}, key="sampler")
    return Plan(
        folder=Path("/sweep"),
        study_name=study_name,
        storage="journal.log",
        space=SPACE if space is None else space,
        trial_overrides=(),
        fixed=(),
        config={},
        objectives=objectives,
        directions=("maximize", "minimize")[: len(objectives)],
        from_record=True,
        constraints=(),
        enqueue=(),
        custom_search_space=None,
        sampler=foreign,
        pruner=foreign,
        n_trials=n_trials,
        max_failure_rate=0.5,
        lease_s=60.0,
        discard=(),
    )


def make_trial(number, state, *values, start=0.0, end=None, reports=None, failure=None, excess=None, **more):
    """A trial; `start` and `end` are in seconds after START."""
    params = more.get("params", PARAMS)
    return FrozenTrial(
        number=number,
        state=state,
        value=None,
        values=list(values) or None,
        datetime_start=START + timedelta(seconds=start),
        datetime_complete=None if end is None else START + timedelta(seconds=end),
        params=params,
        distributions={},
        user_attrs={} if failure is None else {"failure": failure},
        system_attrs={} if excess is None else {"constraints:cost/mb <= 25": excess},
        intermediate_values=reports or {},
        trial_id=number,
    )


class Watched:
    """A display, its output, and a clock that tests set."""

    def __init__(self, plan, terminal=False, width=80, height=25, **console):
        self.out = io.StringIO()
        self.now = 0.0
        # Independent of the terminal that runs the tests.
        environ = {"TERM": "xterm-256color"} | console.pop("environ", {})
        self.console = Console(
            file=self.out, force_terminal=terminal, width=width, height=height, _environ=environ, **console
        )
        self.display = SweepDisplay(plan, self.console, lambda: START.timestamp() + self.now)

    def update(self, *trials, now=0.0):
        """The lines of one update."""
        self.now = now
        self.out.seek(0)
        self.out.truncate()
        self.display.update(trials)
        return self.out.getvalue().splitlines()

    def table(self, *trials, now=0.0):
        """The lines of the table after an update, without control sequences."""
        self.update(*trials, now=now)
        return plain(self.display._live.renderable, self.console.width)


def plain(renderable, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue().splitlines()


COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING


def test_without_a_terminal_each_finished_trial_is_a_line():
    watched = Watched(make_plan(n_trials=4))
    assert watched.update() == []
    assert watched.update(make_trial(0, RUNNING), make_trial(1, RUNNING)) == []
    first = make_trial(0, COMPLETE, 0.67123, end=40)
    # Two workers: the running trial has had 40 s, the mean, so a tenth (4 s) is left, and one of two others follows.
    assert watched.update(first, make_trial(1, RUNNING), now=40) == [
        "[1/4] trial 0: complete, val/f1_macro 0.6712 (best so far), 40 s; "
        "learning_rate=0.000123 batch_size=32; ETA 44 s"
    ]
    second = make_trial(1, PRUNED, 0.41, end=52, reports={1: 0.3, 2: 0.41})
    third = make_trial(2, FAIL, start=40, end=50, failure="ValueError: it is [red]")
    # In order of finishing. One trial is left, for a free worker: the mean of 40 and 52.
    assert watched.update(first, second, third, now=52) == [
        "[2/4] trial 2: failed, ValueError: it is [red]; learning_rate=0.000123 batch_size=32; ETA 46 s",
        "[3/4] trial 1: pruned at report 2, val/f1_macro 0.41, 52 s; learning_rate=0.000123 batch_size=32; ETA 46 s",
    ]
    assert watched.update(first, second, third, now=53) == [], "no line is printed twice"
    fourth = make_trial(3, COMPLETE, 0.5, start=52, end=60)
    assert watched.update(first, second, third, fourth) == [
        "[4/4] trial 3: complete, val/f1_macro 0.5, 8 s; learning_rate=0.000123 batch_size=32"
    ]


def test_a_resumed_sweep_starts_with_one_line():
    before = [make_trial(0, COMPLETE, 0.5, end=10), make_trial(1, COMPLETE, 0.6712, end=10), make_trial(2, FAIL, end=1)]
    watched = Watched(make_plan())
    assert watched.update(*before) == ["resuming: 3 of 12 trials are done, best val/f1_macro 0.6712 (trial 1)"]
    worse, better = make_trial(3, COMPLETE, 0.6, end=30), make_trial(4, COMPLETE, 0.7, end=20)
    lines = watched.update(*before, worse, better)
    assert [line.split(",")[0] for line in lines] == ["[4/12] trial 4: complete", "[5/12] trial 3: complete"]
    assert "(best so far)" in lines[0] and "(best so far)" not in lines[1]
    assert Watched(make_plan()).update(before[2]) == ["resuming: 1 of 12 trials is done"]


def test_equal_is_not_better_and_infeasible_is_never_best():
    watched = Watched(make_plan())
    watched.update()
    trials = [
        make_trial(0, COMPLETE, 0.9, end=1, excess=0.5),
        make_trial(1, COMPLETE, 0.6, end=2, excess=0.0),
        make_trial(2, COMPLETE, 0.6, end=3, excess=-1.0),
        make_trial(3, COMPLETE, 0.95, end=4, excess=math.nan),
    ]
    assert [line.split(";")[0] for line in watched.update(*trials)] == [
        "[1/12] trial 0: complete, infeasible, val/f1_macro 0.9, 1 s",
        "[2/12] trial 1: complete, val/f1_macro 0.6 (best so far), 2 s",
        "[3/12] trial 2: complete, val/f1_macro 0.6, 3 s",
        "[4/12] trial 3: complete, infeasible, val/f1_macro 0.95, 4 s",
    ]


def test_the_lowest_minimised_objective_is_best():
    study = optuna.create_study(direction="minimize")
    watched = Watched(Plan(**vars(make_plan(objectives=("val/loss",))) | {"directions": ("minimize",)}))
    watched.update(*study.get_trials())
    lines = []
    for value in (0.7, 0.8, 0.6):
        trial = study.ask({"stage.learning_rate": FloatDistribution(0.1, 0.1)})
        trial.set_user_attr("seconds", 12.3)
        study.tell(trial, value)
        lines += watched.update(*study.get_trials())
    assert [line.split("; ETA")[0] for line in lines] == [
        "[1/12] trial 0: complete, val/loss 0.7 (best so far), 12 s; learning_rate=0.1",
        "[2/12] trial 1: complete, val/loss 0.8, 12 s; learning_rate=0.1",
        "[3/12] trial 2: complete, val/loss 0.6 (best so far), 12 s; learning_rate=0.1",
    ]


def test_several_objectives_have_a_front_instead_of_a_best():
    trials = [
        make_trial(0, COMPLETE, 0.67, 4.1, end=1),
        make_trial(1, COMPLETE, 0.60, 3.0, end=2),
        make_trial(2, COMPLETE, 0.59, 3.5, end=3),  # trial 1 is better in both
        make_trial(3, COMPLETE, 0.70, 3.0, end=4),  # better than all, which leaves it alone
    ]
    watched = Watched(make_plan(TWO))
    watched.update()
    assert [line.split(";")[0] for line in watched.update(*trials[:3])] == [
        "[1/12] trial 0: complete, val/f1_macro 0.67, cost/latency_ms 4.1 (on the front), 1 s",
        "[2/12] trial 1: complete, val/f1_macro 0.6, cost/latency_ms 3 (on the front), 2 s",
        "[3/12] trial 2: complete, val/f1_macro 0.59, cost/latency_ms 3.5, 3 s",
    ]
    assert Watched(make_plan(TWO)).update(*trials[:3]) == ["resuming: 3 of 12 trials are done, front 2 trials"]
    assert Watched(make_plan(TWO)).update(*trials) == ["resuming: 4 of 12 trials are done, front 1 trial"]


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_optunas(seed):
    study = optuna.create_study(directions=["maximize", "minimize"])
    numbers = random.Random(seed)
    for _ in range(40):
        study.tell(study.ask(), [numbers.randrange(8), numbers.randrange(8)])
    watched = Watched(make_plan(TWO))
    watched.update(*study.trials)
    leaders = {trial.number for _, trial in watched.display._standing.leaders}
    assert leaders == {trial.number for trial in study.best_trials}


def busy_sweep():
    done = [make_trial(i, COMPLETE, 0.5 + i / 100, start=0, end=300) for i in range(5)]
    done += [make_trial(5, PRUNED, 0.4, end=12, reports={1: 0.4}), make_trial(6, FAIL, end=3, failure="OSError: full")]
    running = [make_trial(7, RUNNING, start=300, reports={1: 0.55, 2: 0.61234}), make_trial(8, RUNNING, start=310)]
    return [*done, *running]


def test_the_table_shows_running_and_best_trials():
    watched = Watched(make_plan(), terminal=True)
    # The mean of 5 * 300 and 12 is 252; the trials at 50 and 40 need 250 and 260, and three follow: 250 + 2 * 252.
    assert watched.table(*busy_sweep(), now=350) == [
        "study corona-1a2b3c4d  7/12 done (1 pruned, 1 failed)  2 running",
        "best val/f1_macro 0.54 (trial 4)  ETA 13 min",
        "         trial  val/f1_macro        time   settings",
        "running  7      0.6123 at report 2  50 s   learning_rate=0.000123 batch_size=32",
        "running  8                          40 s   learning_rate=0.000123 batch_size=32",
        "best     4      0.54                5 min  learning_rate=0.000123 batch_size=32",
        "2nd      3      0.53                5 min  learning_rate=0.000123 batch_size=32",
        "3rd      2      0.52                5 min  learning_rate=0.000123 batch_size=32",
    ]
    assert Watched(make_plan(), terminal=True).table() == ["study corona-1a2b3c4d  0/12 done  0 running"]


def test_the_head_is_one_line_on_a_wide_terminal():
    watched = Watched(make_plan(), terminal=True, width=120)
    assert watched.table(*busy_sweep(), now=350)[0] == (
        "study corona-1a2b3c4d  7/12 done (1 pruned, 1 failed)  2 running  best val/f1_macro 0.54 (trial 4)  ETA 13 min"
    )


@pytest.mark.parametrize("objectives", [ONE, TWO])
@pytest.mark.parametrize("width", [80, 50, 20, 5])
def test_no_line_of_the_table_wraps(width, objectives):
    space = {f"stage.part_{i}.setting_{i}": FloatDistribution(0, 1) for i in range(9)}
    params = dict.fromkeys(space, 0.123456) | {"model.name": "語" * 60}
    values = (0.5, 4.0)[: len(objectives)]
    trials = [make_trial(i, COMPLETE, *values, end=4000, params=params) for i in range(4)]
    trials += [make_trial(4 + i, RUNNING, params=params, reports={10: -0.000012345}) for i in range(4)]
    watched = Watched(make_plan(objectives, space, study_name="s" * 90), terminal=True, width=width)
    lines = watched.table(*trials, now=5000)
    assert all(cell_len(line) <= width for line in lines)
    assert lines == plain(watched.display._live.renderable, 10_000), "with room for anything they are the same"
    if width == 80 and objectives == ONE:
        assert any(line.endswith("setting_0=0.123 ...") for line in lines), "cut between settings, not in a number"


def test_the_table_fits_the_height_with_many_workers():
    watched = Watched(make_plan(n_trials=100), terminal=True, height=12)
    trials = [make_trial(i, COMPLETE, 0.5, end=9) for i in range(4)] + [make_trial(4 + i, RUNNING) for i in range(40)]
    lines = watched.table(*trials)
    assert len(lines) <= 11 and lines[-1] == "and 36 more running"
    assert sum(line.startswith("running") for line in lines) == 4 and any(line.startswith("3rd") for line in lines)


def test_on_a_terminal_lines_stay_and_the_table_is_removed():
    watched = Watched(make_plan(), terminal=True, width=200)
    with watched.display:
        watched.update(make_trial(0, RUNNING))
        out = "\n".join(watched.update(make_trial(0, COMPLETE, 0.5, end=5)))
        line = "[1/12] trial 0: complete, val/f1_macro 0.5 (best so far), 5 s; learning_rate=0.000123 batch_size=32"
        assert line in out and out.index(line) < out.rindex("study corona-1a2b3c4d")
        assert "\x1b[32m" in out, "in colour"
        watched.out.truncate(0)
    assert "\x1b[2K" in watched.out.getvalue(), "lines of the table are erased"
    assert "study" not in watched.out.getvalue().rpartition("\x1b[2K")[2]
    watched.display.close()


def test_no_color_is_respected():
    watched = Watched(make_plan(), terminal=True, environ={"NO_COLOR": "1"})
    watched.update()
    out = "\n".join(watched.update(make_trial(0, COMPLETE, 0.5, end=5), make_trial(1, FAIL, end=6)))
    assert "trial 1: failed" in out
    assert not re.search(r"\x1b\[[\d;]*\b(3[0-7]|9[0-7])m", out)
    watched.display.close()


def test_a_dumb_terminal_gets_lines():
    watched = Watched(make_plan(), terminal=True, environ={"TERM": "dumb"})
    assert watched.update(make_trial(0, RUNNING)) == []
    assert len(watched.update(make_trial(0, COMPLETE, 0.5, end=5, params={}))) == 1


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("objectives", [ONE, TWO])
def test_odd_data_is_shown(terminal, objectives):
    odd = [
        make_trial(0, COMPLETE, math.nan, end=1),
        make_trial(1, COMPLETE, params={"other.thing": None, "+flag": True, "text": "a\nb\x1b[31m\ud800"}),
        make_trial(2, PRUNED, reports={3: math.nan}, end=-5),
        make_trial(3, PRUNED, params={}),
        make_trial(4, FAIL, failure="line one\nline two"),
        make_trial(5, FAIL),
        make_trial(6, RUNNING, reports={0: math.nan, 1: math.inf}),
        make_trial(7, RUNNING, start=1e6),
        optuna.trial.create_trial(state=TrialState.WAITING),
        optuna.trial.create_trial(state=PRUNED, user_attrs={"seconds": "long", "failure": 3}),
    ]
    for trial in odd[-2:]:
        trial.number = 8 + odd.index(trial)
    for trial in odd[2:6]:
        trial.datetime_start = None
    odd[6].datetime_start = None
    odd[3].datetime_complete = datetime(1, 1, 1)
    odd[4].datetime_complete = START.replace(tzinfo=UTC)
    watched = Watched(make_plan(objectives), terminal=terminal, width=300)
    watched.update()
    out = "\n".join(watched.update(*odd, now=10))
    watched.display.close()
    for number in (0, 1, 2, 3, 4, 5):
        assert f"trial {number}: " in out
    assert "pruned at report 3, val/f1_macro nan" in out and "failed, line one line two" in out
    assert "thing=null flag=true text=a b [31m" in out
    assert "best" not in out and "front" not in out


def test_characters_outside_the_encoding_do_not_stop_the_sweep():
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=80, _environ={})
    display = SweepDisplay(make_plan(), console)
    display.update([])
    display.update([make_trial(0, FAIL, failure="got 'é'", params={})])
    console.file.flush()
    assert raw.getvalue() == b"[1/12] trial 0: failed, got '\\xe9'\n"


@pytest.mark.parametrize(
    ("left", "took", "elapsed", "workers", "expected"),
    [
        (5, [], [10.0], 1, None),
        (0, [10.0], [], 1, None),
        (3, [60.0], [], 1, 180.0),
        (3, [60.0], [], 2, 120.0),
        (3, [60.0, 100.0], [20.0], 1, 220.0),  # 80 each; the running one has had 20
        (2, [60.0], [20.0, 50.0], 2, 40.0),
        (1, [10.0, 10.0, 100.0], [40.0], 1, 60.0),  # the short ones say nothing of one that outlived them
        (1, [60.0], [100.0], 1, 10.0),
        (1, [60.0], [1e6], 1, 60.0),
        (1, [60.0], [10.0, 20.0], 2, 50.0),  # more running than needed
    ],
)
def test_estimate(left, took, elapsed, workers, expected):
    assert estimate(left, took, elapsed, workers) == (None if expected is None else pytest.approx(expected))


def test_an_idle_worker_still_counts():
    watched = Watched(make_plan(n_trials=5))
    watched.update(make_trial(0, RUNNING), make_trial(1, RUNNING))
    done = make_trial(0, COMPLETE, 0.5, end=100)
    # Four trials are left for two workers, one of them idle: two rounds, not four.
    assert watched.update(done, make_trial(1, RUNNING, start=100), now=100)[0].endswith("ETA 3 min")
    for _ in range(40):
        watched.update(done, make_trial(1, RUNNING, start=100), now=100)
    second = make_trial(2, COMPLETE, 0.5, end=100)
    # The idle worker does not return: three are left for one.
    assert watched.update(done, second, make_trial(1, RUNNING, start=100), now=100)[0].endswith("ETA 5 min")


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0.0, "0 s"),
        (41.4, "41 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (240.0, "4 min"),
        (3569.0, "59 min"),
        (3590.0, "1 h"),
        (4800.0, "1 h 20 min"),
        (100000.0, "27 h 47 min"),
        (None, ""),
    ],
)
def test_duration(length, text):
    assert duration(length) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0001, "0.0001"),
        (0.000123456, "0.000123"),
        (5e-05, "5e-05"),
        (0.1, "0.1"),
        (999.96, "1000"),
        (25_000_000.0, "25000000"),
        (1e300, "1e+300"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (123456, "123456"),
        (False, "false"),
        (None, "null"),
        ("a\tb", "a b"),
    ],
)
def test_shown(value, text):
    assert shown(value, 3) == text


def test_keys_with_equal_ends_are_not_shortened():
    keys = ["teacher.learning_rate", "stage.learning_rate", "+data.batch_size", "model", "+seed"]
    assert list(last_parts(keys, ".").values()) == [
        "teacher.learning_rate",
        "stage.learning_rate",
        "batch_size",
        "model",
        "seed",
    ]
    space = {"a.rate": FloatDistribution(0, 1), "b.kind": CategoricalDistribution(["x", "y"])}
    watched = Watched(make_plan(space=space))
    watched.update()
    own = make_trial(0, FAIL, params={"extra.rate": 1.0, "b.kind": "x", "a.rate": 0.5, "extra.other": 2})
    assert watched.update(own) == ["[1/12] trial 0: failed; a.rate=0.5 kind=x extra.rate=1 other=2"]


def test_packed_and_fitted():
    assert packed(["one", "two", "three"], 8) == ["one  two", "three"]
    assert packed(["one", "two"], 7) == ["one", "two"]
    assert packed(["longer", "two"], 3) == ["longer", "two"]
    assert fitted(["a=1", "b=2"], 7) == "a=1 b=2"
    assert fitted(["a=1", "b=23"], 7) == "a=1 ..."
    assert fitted(["a=1", "b=23"], 6) == "..."
    assert fitted(["a=1"], 2) == "" and fitted([], 9) == ""
