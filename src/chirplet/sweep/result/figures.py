"""Figures of a sweep as PNG files: history, importances, slices, parallel coordinates, Pareto front.

Optuna's plots are not used: they change the style of pyplot and leave figures open, and their labels overlap with more
than a few parameters.
"""

import itertools
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from optuna import Study
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from chirplet.report.figure_style import HIGHLIGHT, INK, MUTED, SERIES
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.result.best import front, ranking
from chirplet.sweep.result.drawing import FAILED, SHADES, SLANT, STYLE, dots, legend, rings, save, wrapped
from chirplet.sweep.result.results import STATES, labels, parameters
from chirplet.sweep.result.scale import Scale, linear_scale, parameter_scale
from chirplet.sweep.result.standing import feasible

# Optuna warns so for every minimised target, and for parameters that few trials have.
_EXPECTED = r"PedAnovaImportanceEvaluator computes the importances|Some regimes for parameter"


@dataclass(frozen=True)
class TrialGroups:
    """The trials of a study, grouped for the figures.

    `good` and `bad` are the feasible and the infeasible complete trials; `ended` are all finished trials; `top` has the
    number of the best trial, or the numbers of the Pareto-optimal ones with several objectives.
    """

    plan: Plan
    ended: list[FrozenTrial]
    good: list[FrozenTrial]
    bad: list[FrozenTrial]
    top: frozenset[int]
    params: list[str]

    @property
    def trials(self) -> list[FrozenTrial]:
        return sorted([*self.good, *self.bad], key=lambda trial: trial.number)

    @property
    def top_name(self) -> str:
        return "Pareto-optimal" if len(self.plan.objectives) > 1 else "best"

    def label(self, index: int) -> str:
        """The label of an objective, with its direction."""
        return f"{self.plan.objectives[index]} ({self.plan.directions[index]})"

    def scale(self, key: str) -> Scale:
        """The axis of a parameter."""
        return parameter_scale([trial.distributions[key] for trial in self.trials if key in trial.params])


def write_figures(study: Study, plan: Plan, folder: Path) -> list[Path]:
    """Write every figure that has data; returns the paths.

    `history.png`, `slices.png`, `parallel.png` and `importances.png`; with several objectives `front.png`, and
    `history_N.png` and `slices_N.png` for the Nth objective. Fewer than two complete trials give no figures.

    Raises:
        OSError: the file cannot be written.
    """
    groups = _trial_groups(study, plan)
    if len(groups.trials) < 2:
        return []
    several = len(plan.objectives) > 1
    figures: dict[str, Figure | None] = {}
    # Based on matplotlib's defaults, since the user's style may not fit these figures.
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for index in range(len(plan.objectives)):
            ending = f"_{index + 1}" if several else ""
            figures[f"history{ending}"] = _history(groups, index)
            figures[f"slices{ending}"] = _slices(groups, index) if groups.params else None
        figures["parallel"] = _parallel(groups) if groups.params else None
        figures["importances"] = _importances(study, groups)
        figures["front"] = _front(groups) if several else None
        return [save(figure, folder / f"{name}.png") for name, figure in figures.items() if figure is not None]


def _trial_groups(study: Study, plan: Plan) -> TrialGroups:
    ended = [trial for trial in study.get_trials() if trial.state.is_finished()]
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    trials = [trial for trial in complete if all(map(math.isfinite, trial.values))]
    good = [trial for trial in trials if feasible(trial)]
    bad = [trial for trial in trials if not feasible(trial)]
    top = front(study, plan) if len(plan.objectives) > 1 else ranking(study, plan)[:1]
    params = [key for key in parameters(trials, plan) if any(key in trial.params for trial in trials)]
    return TrialGroups(plan, ended, good, bad, frozenset(trial.number for trial in top), params)


def _history(groups: TrialGroups, index: int) -> Figure:
    """The objective by trial number, the best so far, and marks at the bottom for pruned and failed trials."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="trial", ylabel=groups.label(index))
    good, bad = ([(trial.number, trial.values[index]) for trial in trials] for trials in (groups.good, groups.bad))
    dots(axes, good, SERIES[0], "complete")
    rings(axes, bad, MUTED, "infeasible")
    look: dict[str, Any]
    if good:
        better = np.maximum if groups.plan.directions[index] == "maximize" else np.minimum
        best = better.accumulate([value for _, value in good])
        numbers = [*(number for number, _ in good), groups.ended[-1].number]
        axes.step(
            numbers, [*best, best[-1]], where="post", color=HIGHLIGHT, linewidth=1.6, label="best so far", zorder=1
        )
    # These trials have no final objective, so their height has no meaning.
    for state, marker, colour in ((TrialState.PRUNED, "v", MUTED), (TrialState.FAIL, "x", FAILED)):
        numbers = [trial.number for trial in groups.ended if trial.state == state]
        if numbers:
            look = {"s": 26, "marker": marker, "color": colour, "label": STATES[state]}
            axes.scatter(numbers, [0.03] * len(numbers), transform=axes.get_xaxis_transform(), **look)
    axes.margins(y=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure)
    return figure


def _slices(groups: TrialGroups, index: int) -> Figure:
    """The objective by each parameter, one panel per parameter."""
    columns = min(3, len(groups.params))
    rows = math.ceil(len(groups.params) / columns)
    figure = Figure(figsize=(2.9 * columns + 1.4, 2.6 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten().tolist()
    names = labels(groups.params)
    age = Normalize(groups.trials[0].number, groups.trials[-1].number)
    for key, axes in zip(groups.params, panels, strict=False):
        scale = groups.scale(key)

        def points(trials: list[FrozenTrial], key: str = key, scale: Scale = scale) -> list[tuple[float, float]]:
            return [(scale.position(trial.params[key]), trial.values[index]) for trial in trials]

        good, bad = ([trial for trial in trials if key in trial.params] for trials in (groups.good, groups.bad))
        dots(axes, points(good), SHADES(age([trial.number for trial in good])))
        rings(axes, points(bad), MUTED, "infeasible")
        rings(
            axes, points([trial for trial in good if trial.number in groups.top]), HIGHLIGHT, groups.top_name, size=110
        )
        room = 0.05 * (scale.high - scale.low)
        axes.set_xlim(scale.low - room, scale.high + room)
        slanted = sum(map(len, scale.ticks.values())) > 24
        axes.set_xticks(list(scale.ticks), list(scale.ticks.values()), **SLANT if slanted else {})
        axes.set_xlabel(wrapped(names[key], 30))
    for axes in panels[len(groups.params) :]:
        axes.remove()
    figure.supylabel(groups.label(index), fontsize="medium")
    figure.colorbar(
        ScalarMappable(age, SHADES), ax=figure.axes, shrink=0.8, ticks=MaxNLocator(5, integer=True), label="trial"
    )
    legend(figure)
    return figure


def _parallel(groups: TrialGroups) -> Figure:
    """One line per trial through its objectives and parameters, darker if the first objective is better."""
    objectives = groups.plan.objectives
    ranges = zip(*(trial.values for trial in groups.trials), strict=True)
    scales = [linear_scale(min(values), max(values)) for values in ranges] + list(map(groups.scale, groups.params))
    names = [*objectives, *labels(groups.params).values()]
    figure = Figure(figsize=(1.5 * len(names) + 0.6, 5), layout="constrained")
    axes = figure.add_subplot(xlim=(-0.7, len(names) - 0.85), ylim=(-0.03, 1.03))
    sign = 1 if groups.plan.directions[0] == "maximize" else -1
    trials = sorted(groups.good, key=lambda trial: (trial.number in groups.top, sign * trial.values[0]))
    shades = Normalize()(np.array([sign * trial.values[0] for trial in trials]))
    looks: list[dict[str, Any]] = [{"color": SHADES(shade), "linewidth": 1.3, "label": "complete"} for shade in shades]
    for trial, look in zip(trials, looks, strict=True):
        if trial.number in groups.top:
            look |= {"color": HIGHLIGHT, "linewidth": 2.2, "label": groups.top_name}
    dashed = {"color": MUTED, "linewidth": 1.0, "linestyle": (0, (3, 2)), "label": "infeasible"}
    for trial, look in zip([*groups.bad, *trials], [dashed] * len(groups.bad) + looks, strict=True):
        # A parameter that the trial does not have makes a gap in its line.
        heights = [scale.height(value) for scale, value in zip(scales, trial.values, strict=False)]
        heights += [
            scale.height(trial.params[key]) if key in trial.params else math.nan
            for scale, key in zip(scales[len(objectives) :], groups.params, strict=True)
        ]
        axes.plot(range(len(names)), heights, marker=".", **look)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    for index, scale in enumerate(scales):
        axes.axvline(index, color=INK, linewidth=0.8, zorder=1)
        for tick, text in scale.ticks.items():
            height = (tick - scale.low) / (scale.high - scale.low)
            axes.text(index - 0.05, height, text, fontsize=8, ha="right", va="center", bbox=box, zorder=5)
    axes.set_xticks(range(len(names)), [wrapped(name, 14) for name in names])
    axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
    axes.yaxis.set_visible(False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    legend(figure)
    return figure


def _importances(study: Study, groups: TrialGroups) -> Figure | None:
    """The importance of each parameter for being among the best trials; None if it cannot be computed."""
    values = {key: {repr(trial.params[key]) for trial in groups.trials if key in trial.params} for key in groups.params}
    varied = [key for key in groups.params if len(values[key]) > 1]
    if len(varied) < 2:
        return None
    shares = {}
    for index, (name, direction) in enumerate(zip(groups.plan.objectives, groups.plan.directions, strict=True)):
        if len({trial.values[index] for trial in groups.trials}) > 1:
            importances = _importances_of(study, varied, index, -1 if direction == "maximize" else 1)
            # Optuna returns equal importances if it finds no effect.
            if len(set(importances.values())) > 1:
                shares[name] = importances
    if not shares:
        return None
    (name, first), *others = shares.items()
    keys = sorted(varied, key=lambda key: first[key])
    figure = Figure(figsize=(7.5, 1.3 + len(keys) * (0.16 + 0.2 * len(shares))), layout="constrained")
    axes = figure.add_subplot(xlabel="importance (PED-ANOVA)" if others else f"importance (PED-ANOVA) for {name}")
    height = 0.8 / len(shares)
    for i, (name, importances) in enumerate(shares.items()):
        widths = [importances[key] for key in keys]
        positions = np.arange(len(keys)) + 0.4 - (i + 0.5) * height
        bars = axes.barh(positions, widths, 0.9 * height, label=name, color=SERIES[i % len(SERIES)])
        axes.bar_label(bars, [f"{width:.0%}" if width >= 0.005 else "<1%" for width in widths], padding=3, fontsize=8)
    names = labels(groups.params)
    axes.set_yticks(range(len(keys)), [wrapped(names[key], 30) for key in keys])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(keys) - 0.4)
    axes.margins(x=0.08)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if others:
        legend(figure)
    return figure


def _importances_of(study: Study, params: list[str], index: int, sign: int) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_EXPECTED)
        return get_param_importances(study, params=params, target=lambda trial: sign * trial.values[index])


def _front(groups: TrialGroups) -> Figure:
    """Each pair of objectives, with the Pareto front."""
    pairs = list(itertools.combinations(range(len(groups.plan.objectives)), 2))
    columns = min(3, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    width, height = (6.5, 4.6) if len(pairs) == 1 else (3.6, 3.2)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for (x, y), axes in zip(pairs, panels, strict=False):
        points = {trial.number: (trial.values[x], trial.values[y]) for trial in groups.trials}
        others = [trial.number for trial in groups.good if trial.number not in groups.top]
        top = sorted(groups.top & points.keys(), key=lambda number: points[number])
        rings(axes, [points[trial.number] for trial in groups.bad], MUTED, "infeasible")
        dots(axes, [points[number] for number in others], SERIES[0], "complete")
        dots(axes, [points[number] for number in top], HIGHLIGHT, groups.top_name)
        if len(pairs) == 1 and top:
            # Between two trials, the reachable value is that of the trial that is better in x.
            where: Any = "pre" if groups.plan.directions[x] == "maximize" else "post"
            best_x, best_y = zip(*(points[number] for number in top), strict=True)
            axes.step(best_x, best_y, where=where, color=HIGHLIGHT, linewidth=1.2)
            for number in top:
                axes.annotate(str(number), points[number], (5, 5), textcoords="offset points", fontsize=8)
        axes.set_xlabel(groups.label(x))
        axes.set_ylabel(groups.label(y))
        axes.margins(0.08)
    for axes in panels[len(pairs) :]:
        axes.remove()
    legend(figure)
    return figure
