"""Figures show the trials, are readable, and leave no state behind."""

import dataclasses
import gc
import itertools
import math
import warnings

import matplotlib
import numpy as np
import optuna
import pytest
from matplotlib.image import imread
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.result import figures
from chirplet.sweep.result.figures import write_figures
from chirplet.sweep.result.results import labels
from chirplet.sweep.result.scale import parameter_scale

LONG = "sentence-transformers/all-MiniLM-L6-v2"
SPACE = {
    "stage.learning_rate": FloatDistribution(1e-6, 1e-2, log=True),
    "model": CategoricalDistribution(["minilm", "$x$ [red]", LONG, None]),
    "stage.dropout": FloatDistribution(0.0, 0.5),
    "+callback.weight_averaging.update_every_n_steps": IntDistribution(1, 64, log=True),
    "stage.batch_size": CategoricalDistribution([8, 16, 32]),
    "stage.layers": IntDistribution(0, 6),
}


def make_plan(objectives=("val/f1_macro",), directions=("maximize",), space=SPACE):
    fields = {"objectives": objectives, "directions": directions, "space": space}
    return Plan(**{field.name: None for field in dataclasses.fields(Plan)} | fields)


def drawn_params(number):
    """Every third trial has no `stage.layers`."""
    generator = np.random.default_rng(number)
    params = {
        "stage.learning_rate": float(10 ** generator.uniform(-6, -2)),
        "model": SPACE["model"].choices[number % 4],
        "stage.dropout": float(generator.uniform(0, 0.5)),
        "+callback.weight_averaging.update_every_n_steps": int(generator.integers(1, 65)),
        "stage.batch_size": int(generator.choice([8, 16, 32])),
    }
    return params if number % 3 == 2 else params | {"stage.layers": number % 7}


def study_of(plan, *trials, params=drawn_params):
    """A study of values, `pruned` or `failed`; values that end with None are infeasible."""
    study = optuna.create_study(directions=list(plan.directions))
    states = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    for number, values in enumerate(trials):
        chosen = params(number)
        study.add_trial(
            create_trial(
                state=states.get(values, TrialState.COMPLETE) if isinstance(values, str) else TrialState.COMPLETE,
                values=None if isinstance(values, str) else [value for value in values if value is not None],
                params=chosen,
                distributions={key: plan.space[key] for key in chosen},
                constraints=None if isinstance(values, str) else {"cost/mb <= 25": 1.0 if None in values else -1.0},
            )
        )
    return study


ONE = [
    (0.5,),
    (0.7, None),
    "pruned",
    (0.4,),
    (0.6,),
    "failed",
    (0.55,),
    (0.65,),
    "pruned",
    (0.3, None),
    (0.62,),
    (0.6,),
]
TWO = [(0.6, 10.0), (0.8, 30.0), (0.7, 40.0), (0.9, 5.0, None), "pruned", (0.5, 12.0), (0.7, 20.0), "failed"]


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """The figures of a study by file name, not written; all, or those of one kind."""

    def drawn(study, plan, kind=None):
        made = {}
        monkeypatch.setattr(figures, "save", lambda figure, path: made.setdefault(path.name, figure))
        for other in {"history", "slices", "parallel", "importances", "front"} - {kind} if kind else ():
            monkeypatch.setattr(figures, f"_{other}", lambda *_: None)
        write_figures(study, plan, tmp_path)
        return made

    return drawn


def series(axes):
    """The points of every scatter in the axes, by label."""
    return {dots.get_label(): dots.get_offsets().tolist() for dots in axes.collections}


def overlapping(figure):
    """Pairs of texts that overlap when drawn."""
    figure.draw_without_rendering()
    texts = [text for axes in figure.axes for text in (*axes.texts, *axes.get_xticklabels(), axes.xaxis.label)]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text() and text.get_visible()]
    slanted = {text.get_text() for text in texts if text.get_rotation()}
    return [
        (a, b)
        for (a, one), (b, other) in itertools.combinations(boxes, 2)
        if one.overlaps(other) and not {a, b} & slanted
    ]


class TestFiles:
    def test_one_objective_and_no_state_left(self, tmp_path):
        gc.collect()  # connections that tests before this one left behind warn when they are collected
        before = dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            paths = write_figures(study_of(make_plan(), *ONE), make_plan(), tmp_path)
        assert [path.name for path in paths] == ["history.png", "slices.png", "parallel.png", "importances.png"]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
        height, width = imread(paths[0]).shape[:2]
        assert (width, height) == (7.5 * 150, 4.2 * 150)
        assert (dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)) == before
        assert matplotlib._pylab_helpers.Gcf.get_all_fig_managers() == []

    def test_the_same_study_makes_the_same_file_in_any_style(self, tmp_path):
        plan = make_plan(space={})
        study = study_of(plan, (0.1,), (0.2,), params=lambda _: {})
        (path,) = write_figures(study, plan, tmp_path)
        first = path.read_bytes()
        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
            write_figures(study, plan, tmp_path)
        assert path.read_bytes() == first

    def test_several_objectives(self, draw):
        plan = make_plan(("val/f1_macro", "cost/latency_ms"), ("maximize", "minimize"))
        names = {f"{kind}_{place}.png" for kind in ("history", "slices") for place in (1, 2)}
        assert set(draw(study_of(plan, *TWO), plan)) == names | {"parallel.png", "importances.png", "front.png"}

    @pytest.mark.parametrize("trials", [[], ["failed", "pruned"], [(0.5,), "pruned"], [(0.5,), (math.inf,)]])
    def test_too_few_trials_make_none(self, trials, tmp_path):
        assert write_figures(study_of(make_plan(), *trials), make_plan(), tmp_path) == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("trials", "params"),
        [
            ([(0.5,), (0.5,), (0.5,)], drawn_params),  # nothing to be important for
            ([(0.5,), (0.6,), (0.7,)], lambda number: {"stage.layers": 1, "stage.dropout": 0.1 * number}),
        ],
    )
    def test_importances_only_if_computable(self, trials, params, draw):
        made = draw(study_of(make_plan(), *trials, params=params), make_plan())
        assert set(made) == {"history.png", "slices.png", "parallel.png"}

    def test_a_study_without_parameters_has_a_history(self, draw):
        plan = make_plan(space={})
        assert set(draw(study_of(plan, (0.5,), (0.6,), params=lambda _: {}), plan)) == {"history.png"}

    def test_only_infeasible_trials_are_drawn(self, draw):
        plan = make_plan(("val/f1_macro", "cost/latency_ms"), ("maximize", "minimize"))
        made = draw(study_of(plan, (0.5, 3.0, None), (0.6, 2.0, None)), plan, "front")
        assert series(made["front.png"].axes[0]) == {"infeasible": [[0.5, 3.0], [0.6, 2.0]]}


class TestHistory:
    def test_every_finished_trial_has_the_mark_of_its_state(self, draw):
        (axes,) = draw(study_of(make_plan(), *ONE), make_plan(), "history")["history.png"].axes
        shown = series(axes)
        assert shown["complete"] == [[0, 0.5], [3, 0.4], [4, 0.6], [6, 0.55], [7, 0.65], [10, 0.62], [11, 0.6]]
        assert shown["infeasible"] == [[1, 0.7], [9, 0.3]]
        assert [number for number, _ in shown["pruned"]] == [2, 8] and [number for number, _ in shown["failed"]] == [5]
        assert axes.get_ylabel() == "val/f1_macro (maximize)"

    @pytest.mark.parametrize(
        ("direction", "best"),
        [("maximize", [0.5, 0.5, 0.6, 0.6, 0.65, 0.65, 0.65, 0.65]), ("minimize", [0.5] + [0.4] * 7)],
    )
    def test_the_best_so_far_is_feasible_and_continues_to_the_end(self, direction, best, draw):
        plan = make_plan(directions=(direction,))
        (line,) = draw(study_of(plan, *ONE), plan, "history")["history.png"].axes[0].lines
        assert line.get_xdata().tolist() == [0, 3, 4, 6, 7, 10, 11, 11] and line.get_ydata().tolist() == best


class TestSlices:
    def test_a_panel_shows_its_parameter(self, draw):
        made = draw(study_of(make_plan(), *ONE), make_plan(), "slices")["slices.png"]
        panels = {axes.get_xlabel().replace("\n", ""): axes for axes in made.axes}
        names = ["learning_rate", "model", "dropout", "update_every_n_steps", "batch_size", "layers", ""]
        assert list(panels) == names  # the last is the colour bar
        infeasible = series(panels["learning_rate"])["infeasible"]
        assert np.allclose(
            infeasible, [[math.log10(drawn_params(n)["stage.learning_rate"]), v] for n, v in ((1, 0.7), (9, 0.3))]
        )
        # Trial 11 has no `layers`; the best, 7, has 0 of them.
        layers = series(panels["layers"])
        assert layers["best"] == [[0, 0.65]]
        assert layers["_child0"] == [[0, 0.5], [3, 0.4], [4, 0.6], [6, 0.55], [0, 0.65], [3, 0.62]]
        assert [tick.get_text() for tick in panels["model"].get_xticklabels()] == [
            *("minilm", "$x$ [red]", "…/all-MiniLM-L6-v2", "null")
        ]


class TestParallel:
    def test_lines_of_trials(self, draw):
        (axes,) = draw(study_of(make_plan(), *ONE), make_plan(), "parallel")["parallel.png"].axes
        lines = {label: [line for line in axes.lines if line.get_label() == label] for label in ("best", "infeasible")}
        (best,) = (line.get_ydata() for line in lines["best"])
        params = drawn_params(7)
        # The objective goes from 0.3 to 0.7; `model` is the last of four categories, 3.5 of 4 up.
        assert best[0] == pytest.approx((0.65 - 0.3) / 0.4)
        assert best[1] == pytest.approx((math.log10(params["stage.learning_rate"]) + 6) / 4)
        assert (best[2], best[6]) == (3.5 / 4, 0.0)
        assert best[4] == pytest.approx(math.log(params["+callback.weight_averaging.update_every_n_steps"], 64))
        assert len(lines["infeasible"]) == 2

    def test_a_missing_parameter_is_a_gap(self, draw):
        (axes,) = draw(study_of(make_plan(), *ONE), make_plan(), "parallel")["parallel.png"].axes
        trials = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 7]
        assert len(trials) == 9 and sum(math.isnan(heights[6]) for heights in trials) == 1  # trial 11

    def test_labels_do_not_overlap(self, draw):
        figure = draw(study_of(make_plan(), *ONE), make_plan(), "parallel")["parallel.png"]
        assert overlapping(figure) == []
        # The check detects an overlap.
        figure.set_size_inches(3, 5)
        assert overlapping(figure)


class TestImportances:
    def test_the_important_parameter_is_on_top(self, draw):
        made = {}
        for direction in ("maximize", "minimize"):
            plan = make_plan(
                directions=(direction,), space={key: SPACE[key] for key in ("stage.dropout", "stage.layers")}
            )
            generator = np.random.default_rng(0)
            points = [
                {"stage.dropout": float(generator.uniform(0, 0.5)), "stage.layers": int(generator.integers(0, 7))}
                for _ in range(40)
            ]
            values = [(abs(point["stage.dropout"] - 0.1) * (-1 if direction == "maximize" else 1),) for point in points]
            (axes,) = draw(study_of(plan, *values, params=points.__getitem__), plan, "importances")[
                "importances.png"
            ].axes
            assert [tick.get_text() for tick in axes.get_yticklabels()] == ["layers", "dropout"]
            made[direction] = [bar.get_width() for bar in axes.patches]
        assert sum(made["maximize"]) == pytest.approx(1) and made["maximize"][1] > 0.8
        assert made["maximize"] == pytest.approx(made["minimize"])


class TestFront:
    @pytest.mark.parametrize(("directions", "sign", "where"), [("max min", 1, "pre"), ("min min", -1, "post")])
    def test_the_steps_pass_through_trials(self, directions, sign, where, draw):
        names = {"max": "maximize", "min": "minimize"}
        plan = make_plan(("a", "b"), tuple(names[name] for name in directions.split()))
        trials = [(sign * values[0], *values[1:]) if not isinstance(values, str) else values for values in TWO]
        (axes,) = draw(study_of(plan, *trials), plan, "front")["front.png"].axes
        front = sorted([sign * f1, latency] for f1, latency in ((0.6, 10.0), (0.7, 20.0), (0.8, 30.0)))
        shown = series(axes)
        assert shown["Pareto-optimal"] == front
        assert shown["complete"] == [[sign * 0.7, 40.0], [sign * 0.5, 12.0]] and shown["infeasible"] == [
            [sign * 0.9, 5.0]
        ]
        (line,) = axes.lines
        assert line.get_drawstyle() == f"steps-{where}" and np.column_stack(line.get_data()).tolist() == front
        assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "6"]

    def test_three_objectives_make_three_panels(self, draw):
        plan = make_plan(("a", "b", "c"), ("maximize", "minimize", "minimize"))
        figure = draw(study_of(plan, (0.5, 3.0, 1.0), (0.6, 4.0, 2.0)), plan, "front")["front.png"]
        assert [axes.get_ylabel() for axes in figure.axes] == ["b (minimize)", "c (minimize)", "c (minimize)"]


class TestScale:
    @pytest.mark.parametrize(
        ("distributions", "ends", "ticks"),
        [
            ([FloatDistribution(0.0, 1.0)], (0, 1), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            ([FloatDistribution(0.2, 0.2)], (-0.3, 0.7), ["0.2"]),
            (
                [FloatDistribution(0.0, 0.2), FloatDistribution(0.1, 0.5)],
                (0, 0.5),
                ["0", "0.1", "0.2", "0.3", "0.4", "0.5"],
            ),
            ([IntDistribution(1, 3)], (1, 3), ["1", "2", "3"]),
            ([IntDistribution(0, 20_000_000)], (0, 2e7), ["0", "5,000,000", "10,000,000", "15,000,000", "20,000,000"]),
            ([FloatDistribution(1e-5, 1e-2, log=True)], (-5, -2), ["1e-05", "0.0001", "0.001", "0.01"]),
            ([FloatDistribution(0.01, 0.05, log=True)], (-2, math.log10(0.05)), ["0.01", "0.02", "0.05"]),
            ([FloatDistribution(0.012, 0.013, log=True)], (math.log10(0.012), math.log10(0.013)), ["0.012", "0.013"]),
            ([CategoricalDistribution([True, None, 1e-5])], (-0.5, 2.5), ["true", "null", "1e-05"]),
            ([CategoricalDistribution(range(30))], (-0.5, 29.5), [str(n) for n in range(0, 30, 3)]),
        ],
    )
    def test_ends_and_ticks(self, distributions, ends, ticks):
        scale = parameter_scale(distributions)
        assert (scale.low, scale.high) == pytest.approx(ends)
        assert list(scale.ticks.values()) == ticks

    def test_a_category_has_its_position_and_true_is_not_one(self):
        scale = parameter_scale([CategoricalDistribution(["a", "b"])])
        assert [scale.height("a"), scale.height("b")] == [0.25, 0.75]

    def test_long_categories_stay_distinct(self):
        same_end = CategoricalDistribution([f"{name}-of-a-very-long-name" for name in ("one", "two")])
        assert list(parameter_scale([same_end]).ticks.values()) == ["one-of-a-very-lon…", "two-of-a-very-lon…"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["stage.learning_rate", "model"], ["learning_rate", "model"]),
        (
            ["stage.dropout", "model.dropout", "+a.b.model.dropout"],
            ["stage.dropout", "model.dropout", "b.model.dropout"],
        ),
        (["model", "teacher.model", "+model@teacher"], ["model", "teacher.model", "model@teacher"]),
        (["x", "+x"], ["x", "+x"]),
        (["callback/early", "early.patience"], ["early", "patience"]),
    ],
)
def test_a_label_is_the_shortest_unique_suffix(keys, expected):
    assert list(labels(keys).values()) == expected
