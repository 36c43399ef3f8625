"""Figures of what the settings do: scores, main effects, interactions, importance, failures. Free of torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from saddle.report import statistics
from saddle.report.figures import style
from saddle.report.settings import compact
from saddle.report.study import Level, Study

SHOWN = 40  # combinations in one figure
PAIRS = 6  # interaction maps on the page


def scores_by_setting(study: Study, by: int | None) -> Figure | None:
    """Box plots of the best combinations of settings with every run as a point."""
    cells = [cell for cell in study.cells if len(cell.scores)][:SHOWN]
    if not cells:
        return None
    figure, grid = style.new(1.0 + 0.24 * max(len(cells), 4))
    axes, colours = grid[0, 0], style.colours_of(study, by)
    for y, cell in enumerate(cells):
        if len(cell.scores) >= statistics.SEEDS:
            box(axes, y, cell.scores)
        jitter = np.linspace(-0.16, 0.16, len(cell.rows)) if len(cell.rows) > 1 else np.zeros(1)
        for i, offset in zip(cell.rows, jitter, strict=True):
            axes.plot(study.scores[i], y + offset, "o", ms=4.2, mfc=colours.get(i, style.ACCENT), mec="white", mew=0.5)
        counts = list(study.failures(cell.rows).items())[1:]
        note = ", ".join(f"{count} {word}" for word, count in counts if count)
        if note:
            axes.annotate(note, (1.0, y), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", fontsize=7.5, color=style.DIVERGED)  # fmt: skip
    parts = [[style.brief(study.settings[j], cell.values[j]) for j in study.order] for cell in cells]
    names = [" · ".join(each) or "all runs" for each in parts]
    rows_named(axes, [textwrap.shorten(name, 64, placeholder=" …") for name in names])
    style.score_axis(study, axes, "x")
    axes.set_xlabel(f"{study.score} ({'higher' if study.higher else 'lower'} is better)")
    if by is not None and len(study.settings) > 1:
        style.level_legend(figure, study, by, "outside upper right")
    return figure


def rows_named(axes: Axes, names: Sequence[str]) -> None:
    """An axis that counts rows from the top, with their names."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def box(axes: Axes, y: float, values: np.ndarray) -> None:
    """A light horizontal box plot."""
    axes.boxplot(values, orientation="horizontal", positions=[y], widths=0.62, whis=(0, 100), showcaps=False,
                 manage_ticks=False, patch_artist=True, boxprops={"facecolor": "#f0f0f0", "edgecolor": "#bdbdbd"},
                 whiskerprops={"color": "#bdbdbd"}, medianprops={"color": style.INK, "linewidth": 1.4})  # fmt: skip


def setting_panels(study: Study, height: float) -> tuple[Figure, list[tuple[Axes, list[Level]]]]:
    """A figure with a panel for each setting, the most important first: of each its axes and the levels below them."""
    figure, grid = style.panels(len(study.settings), height)
    for axes, j in zip(grid, study.order, strict=True):
        style.level_ticks(axes, [level.name for level in study.levels[j]])
        axes.set_title(style.shorten(study.settings[j].name, 30), fontweight="bold")
        axes.grid(axis="y")
    return figure, [(axes, study.levels[j]) for axes, j in zip(grid, study.order, strict=True)]


def main_effects(study: Study) -> Figure | None:
    """For each setting the mean score of its levels, all runs behind it."""
    if not study.settings or not np.isfinite(study.scores).any():
        return None
    figure, grid = setting_panels(study, 2.7)
    compared = study.scale(study.scored(range(len(study.runs))))
    pad = 0.06 * (np.ptp(compared) or 1)
    for axes, levels in grid:
        for x, level in enumerate(levels):
            spread = 0.22 * np.sin(2.4 * np.arange(len(level.scores)))
            axes.plot(x + spread, level.scores, "o", ms=2.8, color="#bcbcbc", mec="none", alpha=0.7, rasterized=True)
            if level.interval:
                axes.plot([x, x], level.interval, color=style.ACCENT, lw=2.2, solid_capstyle="butt", zorder=3)
        means = [level.mean for level in levels]
        axes.plot(range(len(levels)), means, "o-", color=style.ACCENT, lw=0.9, ms=4.2, mec="none", zorder=4)
        axes.set_xlim(-0.5, len(levels) - 0.5)
        style.score_axis(study, axes, "y")
        axes.set_ylim(study.unscale(compared.min() - pad), study.unscale(compared.max() + pad))
    for axes, _ in grid[::4]:  # the first of each row
        axes.set_ylabel(study.score)
    return figure


def interactions(study: Study) -> Figure | None:
    """Heat maps of the mean score over two settings at a time; the strongest interactions first."""
    pairs = study.pairs[:PAIRS]
    if not pairs or not np.isfinite(study.scores).any():
        return None
    tables = [study.pair_means(i, j)[0] for i, j in pairs]
    known = np.concatenate([table[np.isfinite(table)] for table in tables])
    low, high = float(known.min()), float(known.max())
    if low == high:
        return None
    norm = LogNorm(low, high) if study.logarithmic else Normalize(low, high)
    colour_map = style.colour_map(study).with_extremes(bad="#f4f4f4")
    columns = 1 if len(pairs) == 1 else 2 if len(pairs) in (2, 4) else 3
    figure, grid = style.panels(len(pairs), 1.1 + 0.34 * max(4, *map(len, tables)), columns)
    for axes, (i, j), table in zip(grid, pairs, tables, strict=True):
        axes.imshow(table, norm=norm, cmap=colour_map, aspect="auto")
        style.level_ticks(axes, [level.name for level in study.levels[j]])
        axes.set_yticks(range(table.shape[0]), [style.shorten(level.name, 18) for level in study.levels[i]])
        axes.set_xlabel(style.shorten(study.settings[j].name, 30))
        axes.set_ylabel(style.shorten(study.settings[i].name, 30))
        style.bare(axes)
        if table.shape[1] <= 8 or len(pairs) == 1:
            write_values(axes, study, i, j, table, norm)
        if study.importance is not None:
            share = study.importance.share(i, j)[0]
            axes.set_title(f"interaction {share:.0%}", fontsize=8.5, color=style.SOFT, loc="center")
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colour_map), ax=grid, shrink=0.75, pad=0.015, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(f"mean {study.score} (darker is better)")
    if study.logarithmic:
        style.tidy(bar.ax.yaxis, known)
    return figure


def write_values(axes: Axes, study: Study, i: int, j: int, table: np.ndarray, norm: Normalize) -> None:
    """The numbers of a heat map, light on dark fields; where all runs of a field have no score, that."""
    for (y, x), value in np.ndenumerate(table):
        rows = set(study.levels[i][y].rows) & set(study.levels[j][x].rows)
        if np.isfinite(value):
            depth = float(norm(value)) if study.higher else 1 - float(norm(value))
            colour = "white" if depth > 0.55 else style.INK
            axes.text(x, y, compact(value), ha="center", va="center", fontsize=7.5, color=colour)
        elif rows:  # else it was not run
            word = "diverged" if all(study.runs[row].diverged for row in rows) else "no score"
            axes.text(x, y, word, ha="center", va="center", fontsize=7, color=style.DIVERGED)


def importances(study: Study) -> Figure | None:
    """Bars of the share of variance of single settings and of the strongest pairs, with the spread over trees."""
    if study.importance is None:
        return None
    names = [setting.name for setting in study.settings]
    entries = [(name, study.importance.share(j), style.ACCENT) for j, name in enumerate(names)]
    pairs = [(f"{names[i]} × {names[j]}", study.importance.share(i, j), style.SECOND) for i, j in study.pairs[:8]]
    entries += [entry for entry in pairs if entry[1][0] >= 0.005]
    entries.sort(key=lambda entry: -entry[1][0])
    figure, grid = style.new(0.9 + 0.27 * max(len(entries), 3))
    axes = grid[0, 0]
    for y, (_, (mean, low, high), colour) in enumerate(entries):
        axes.barh(y, mean, height=0.62, color=colour)
        axes.plot([low, high], [y, y], color=style.INK, lw=1.2)
        axes.annotate(f"{mean:.0%}", (max(high, mean), y), (5, 0), textcoords="offset points", va="center", fontsize=8,
                      color=style.INK)  # fmt: skip
    rows_named(axes, [style.shorten(name, 60) for name, _, _ in entries])
    axes.set_xlim(0, min(1.12, 1.15 * max(high for _, (_, _, high), _ in entries) + 0.05))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("share of the variance of " + (f"log {study.score}" if study.logarithmic else study.score))
    axes.legend(handles=[Patch(color=style.ACCENT), Patch(color=style.SECOND), Line2D([], [], color=style.INK, lw=1.2)],
                labels=["a setting alone", "two together, beyond each alone", "10 to 90% of the trees"],
                loc="lower right")  # fmt: skip
    return figure


def failures(study: Study) -> Figure | None:
    """For each setting the share of diverged, collapsed and crashed runs by level."""
    if not study.settings or not any(list(study.failures(study.rows).values())[1:]):
        return None
    figure, grid = setting_panels(study, 2.5)
    looks = (("diverged", style.DIVERGED, ""), ("collapsed", style.COLLAPSED, ""), ("failed", style.FAILED, "///"))
    for axes, levels in grid:
        for x, level in enumerate(levels):
            counts, bottom = study.failures(level.rows), 0.0
            for word, colour, hatch in looks:
                share = counts[word] / max(counts["over"], 1)
                axes.bar(x, share, 0.66, bottom, color=colour, hatch=hatch, edgecolor="white", lw=0.6)
                bottom += share
            count = sum(counts[word] for word, _, _ in looks)
            axes.annotate(f"{count}/{counts['over']}", (x, bottom), (0, 3), textcoords="offset points", ha="center",
                          fontsize=7.5 if len(levels) < 7 else 6.5, color=style.SOFT)  # fmt: skip
        axes.set_ylim(0, 1.12)
        axes.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
        axes.set_xlim(-0.6, len(levels) - 0.4)
    patches = [Patch(fc=colour, hatch=hatch, ec="white" if hatch else colour) for _, colour, hatch in looks]
    figure.legend(patches, ["diverged", "collapsed", "failed otherwise"], loc="outside upper right", ncols=3)
    return figure
