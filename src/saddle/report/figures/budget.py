"""The best score against the budget of a search. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from saddle.report import statistics
from saddle.report.figures import style
from saddle.report.statistics import Floats
from saddle.report.study import Study


@dataclass(frozen=True)
class Curve:
    """The expected best score of some runs against the budget.

    Attributes:
        name: of the runs.
        colour: of the curve.
        runs: how many have ended.
        budgets: numbers of runs.
        best: [budgets], the expected best score.
        band: [2, budgets], its 95% interval.
    """

    name: str
    colour: str
    runs: int
    budgets: list[int]
    best: Floats
    band: Floats


def budget_curves(study: Study, by: int | None) -> list[Curve]:
    """The curves of all runs and of each level of a setting, of those that at least two runs of have ended."""
    groups = [("all runs", style.INK, study.rows)]
    if by is not None:
        groups += [(f"{study.settings[by].name}={level.name}", style.colour(n), list(level.rows))
                   for n, level in enumerate(study.levels[by])]  # fmt: skip
    sign, curves = -1 if study.higher else 1, []
    for n, (name, colour, rows) in enumerate(groups):
        scores = study.penalised(rows)[1]
        if len(scores) >= 2:
            budgets = sorted({round(k) for k in np.geomspace(1, len(scores), 40).tolist()})
            best = sign * statistics.expected_minimum(sign * scores, budgets)
            band = sign * statistics.budget_interval(sign * scores, budgets, study.rng(3000 + n), study.resamples)
            curves.append(Curve(name, colour, len(scores), budgets, best, np.sort(band, axis=0)))
    return curves


def budget(study: Study, by: int | None) -> Figure | None:
    """The expected best score of k random runs."""
    curves = budget_curves(study, by)
    if not curves:
        return None
    figure, grid = style.new(3.6)
    axes = grid[0, 0]
    for curve in curves:
        width, dashes = (1.6, "--") if curve.colour == style.INK else (2, "-")
        if curve.runs >= statistics.SEEDS:
            axes.fill_between(curve.budgets, *curve.band, color=curve.colour, alpha=0.12, lw=0)
        axes.plot(curve.budgets, curve.best, color=curve.colour, lw=width, ls=dashes, label=curve.name)
    axes.set_xscale("log")
    style.tidy(axes.xaxis, [k for curve in curves for k in curve.budgets])
    axes.set_xlim(1, None)
    style.score_axis(study, axes, "y")
    axes.grid()
    axes.set_xlabel("budget: number of runs drawn at random")
    axes.set_ylabel(f"expected best\n{study.score}")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
