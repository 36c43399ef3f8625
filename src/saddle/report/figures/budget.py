"""The best score against the budget of a search. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from saddle.report import statistics
from saddle.report.figures.style import (
    COLOURS,
    INK,
    new,
    score_axis,
    tidy,
)
from saddle.report.study import Study


def budget_groups(study: Study, by: int | None) -> list[tuple[str, str, list[int]]]:
    """Name, colour and rows of each curve of the budget figure: all runs, and each level of a setting."""
    groups = [("all runs", INK, study.rows)]
    if by is not None:
        groups += [(f"{study.settings[by].name}={level.name}", COLOURS[n % len(COLOURS)], list(level.rows))
                   for n, level in enumerate(study.levels[by])]  # fmt: skip
    return groups


def budget_curve(study: Study, rows: Sequence[int], purpose: int) -> tuple[list[int], np.ndarray, np.ndarray] | None:
    """Budgets, expected best score, and its 95% interval [2, budgets]; None with fewer than two runs."""
    scores = study.penalised(rows)[1]
    if len(scores) < 2:
        return None
    sign, budgets = (-1 if study.higher else 1), statistics.budgets_up_to(len(scores))
    curve = sign * statistics.expected_minimum(sign * scores, budgets)
    band = sign * statistics.budget_interval(sign * scores, budgets, study.rng(purpose), study.resamples)
    return budgets, curve, np.sort(band, axis=0)


def budget(study: Study, by: int | None) -> Figure | None:
    """The expected best score of k random runs."""
    groups = budget_groups(study, by)
    curves = [(group, budget_curve(study, group[2], 3000 + n)) for n, group in enumerate(groups)]
    if curves[0][1] is None:
        return None
    figure, grid = new(3.6)
    axes = grid[0, 0]
    for (name, colour, rows), found in curves:
        if found is None:
            continue
        budgets, curve, band = found
        if len(study.penalised(rows)[1]) >= statistics.SEEDS:
            axes.fill_between(budgets, *band, color=colour, alpha=0.12, lw=0)
        axes.plot(
            budgets, curve, color=colour, lw=2 if colour != INK else 1.6, ls="-" if colour != INK else "--", label=name
        )
    axes.set_xscale("log")
    tidy(axes.xaxis, budgets_of(curves))
    axes.set_xlim(1, None)
    score_axis(study, axes, "y")
    axes.grid()
    axes.set_xlabel("budget: number of runs drawn at random")
    axes.set_ylabel(f"expected best\n{study.score}")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def budgets_of(curves: Sequence[Any]) -> list[float]:
    """All budgets of some curves."""
    return [float(k) for _, found in curves if found for k in found[0]]
