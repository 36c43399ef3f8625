"""The figures of a report: functions of a study that give a matplotlib figure, or None where there is nothing to show.

Free of torch. Colours are those of Okabe and Ito, which colour-blind readers can tell apart; on colour maps darker is
better.
"""

from saddle.report.figures.budget import budget, budget_curve, budget_groups
from saddle.report.figures.coordinates import parallel
from saddle.report.figures.effects import (
    failure_counts,
    failures,
    importances,
    interactions,
    main_effects,
    pair_means,
    ranked_pairs,
    scores_by_setting,
)
from saddle.report.figures.runs import crop, sample_cells, sample_grids, training_curves
from saddle.report.figures.style import CURVES, PAIRS, SHOWN, styled

__all__ = [
    "CURVES", "PAIRS", "SHOWN", "budget", "budget_curve", "budget_groups", "crop", "failure_counts", "failures",
    "importances", "interactions", "main_effects", "pair_means", "parallel", "ranked_pairs", "sample_cells",
    "sample_grids", "scores_by_setting", "styled", "training_curves",
]  # fmt: skip
