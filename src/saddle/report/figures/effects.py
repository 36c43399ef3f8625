"""Figures of what the settings do: scores, main effects, interactions, importance, failures. Free of torch."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from saddle.report import statistics
from saddle.report.figures.style import (
    ACCENT,
    COLLAPSED,
    DIVERGED,
    FAILED,
    INK,
    SECOND,
    SOFT,
    brief,
    colours_of,
    goodness,
    level_legend,
    level_ticks,
    new,
    panels,
    score_axis,
    shorten,
    tidy,
)
from saddle.report.settings import compact
from saddle.report.study import Level, Study

SHOWN = 40  # combinations in one figure
PAIRS = 6  # interaction maps on the page


def scores_by_setting(study: Study, by: int | None) -> Figure | None:
    """Box plots of the best combinations of settings with every run as a point."""
    cells = [cell for cell in study.cells if len(cell.scores)][:SHOWN]
    if not cells:
        return None
    figure, grid = new(1.0 + 0.24 * max(len(cells), 4))
    axes, colours = grid[0, 0], colours_of(study, by)
    for y, cell in enumerate(cells):
        if len(cell.scores) >= statistics.SEEDS:
            box(axes, y, cell.scores)
        jitter = np.linspace(-0.16, 0.16, len(cell.rows)) if len(cell.rows) > 1 else np.zeros(1)
        for i, offset in zip(cell.rows, jitter, strict=True):
            axes.plot(study.scores[i], y + offset, "o", ms=4.2, mfc=colours.get(i, ACCENT), mec="white", mew=0.5)
        counts = list(study.failures(cell.rows).items())[1:]
        note = ", ".join(f"{count} {word}" for word, count in counts if count)
        if note:
            axes.annotate(note, (1.0, y), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", fontsize=7.5, color=DIVERGED)  # fmt: skip
    names = [" · ".join(brief(study.settings[j], cell.values[j]) for j in study.order) or "all runs" for cell in cells]
    axes.set_yticks(range(len(cells)), [textwrap.shorten(name, 64, placeholder=" …") for name in names])
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    score_axis(study, axes, "x")
    axes.set_xlabel(goodness(study))
    if by is not None and len(study.settings) > 1:
        figure.legend(**level_legend(study, by, loc="outside upper right"))
    return figure


def box(axes: Axes, y: float, values: np.ndarray) -> None:
    """A light horizontal box plot."""
    axes.boxplot(values, orientation="horizontal", positions=[y], widths=0.62, whis=(0, 100), showcaps=False,
                 manage_ticks=False, patch_artist=True, boxprops={"facecolor": "#f0f0f0", "edgecolor": "#bdbdbd"},
                 whiskerprops={"color": "#bdbdbd"}, medianprops={"color": INK, "linewidth": 1.4})  # fmt: skip


def setting_panels(study: Study, height: float) -> tuple[Figure, list[tuple[Axes, list[Level]]]]:
    """A figure with a panel for each setting, the most important first: of each its axes and the levels below them."""
    figure, grid = panels(len(study.settings), height)
    for axes, j in zip(grid, study.order, strict=True):
        level_ticks(axes, [level.name for level in study.levels[j]])
        axes.set_title(shorten(study.settings[j].name, 30), fontweight="bold")
        axes.grid(axis="y")
    return figure, [(axes, study.levels[j]) for axes, j in zip(grid, study.order, strict=True)]


def main_effects(study: Study) -> Figure | None:
    """For each setting the mean score of its levels, all runs behind it."""
    if not study.settings or not np.isfinite(study.scores).any():
        return None
    figure, grid = setting_panels(study, 2.7)
    finite = study.scored(range(len(study.runs)))
    for axes, levels in grid:
        for x, level in enumerate(levels):
            spread = 0.22 * np.sin(2.4 * np.arange(len(level.scores)))
            axes.plot(x + spread, level.scores, "o", ms=2.8, color="#bcbcbc", mec="none", alpha=0.7, rasterized=True)
            if level.interval:
                axes.plot([x, x], level.interval, color=ACCENT, lw=2.2, solid_capstyle="butt", zorder=3)
        axes.plot(range(len(levels)), [level.mean for level in levels], "o-", color=ACCENT, lw=0.9, ms=4.2, mec="none",
                  zorder=4)  # fmt: skip
        axes.set_xlim(-0.5, len(levels) - 0.5)
        score_axis(study, axes, "y")
        low, high = finite.min(), finite.max()
        pad = (high / low) ** 0.06 if study.logarithmic else 0.06 * (high - low or 1)
        axes.set_ylim((low / pad, high * pad) if study.logarithmic else (low - pad, high + pad))
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
    colour_map = mpl.colormaps["YlGnBu" if study.higher else "YlGnBu_r"].with_extremes(bad="#f4f4f4")
    tallest = max(table.shape[0] for table in tables)
    columns = 1 if len(pairs) == 1 else 2 if len(pairs) in (2, 4) else 3
    figure, grid = panels(len(pairs), 1.1 + 0.34 * max(tallest, 4), columns)
    for axes, (i, j), table in zip(grid, pairs, tables, strict=True):
        axes.imshow(table, norm=norm, cmap=colour_map, aspect="auto")
        level_ticks(axes, [level.name for level in study.levels[j]])
        axes.set_yticks(range(table.shape[0]), [shorten(level.name, 18) for level in study.levels[i]])
        axes.set_xlabel(shorten(study.settings[j].name, 30))
        axes.set_ylabel(shorten(study.settings[i].name, 30))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if table.shape[1] <= 8 or len(pairs) == 1:
            write_values(axes, study, i, j, table, norm)
        if study.importance is not None:
            axes.set_title(f"interaction {study.importance.share(i, j)[0]:.0%}", fontsize=8.5, color=SOFT, loc="center")
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colour_map), ax=grid, shrink=0.75, pad=0.015, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(f"mean {study.score} (darker is better)")
    if study.logarithmic:
        tidy(bar.ax.yaxis, known)
    return figure


def write_values(axes: Axes, study: Study, i: int, j: int, table: np.ndarray, norm: Normalize) -> None:
    """The numbers of a heat map, light on dark fields; where all runs of a field have no score, that."""
    for (y, x), value in np.ndenumerate(table):
        rows = set(study.levels[i][y].rows) & set(study.levels[j][x].rows)
        if np.isfinite(value):
            depth = float(norm(value)) if study.higher else 1 - float(norm(value))
            colour = "white" if depth > 0.55 else INK
            axes.text(x, y, compact(value), ha="center", va="center", fontsize=7.5, color=colour)
        elif rows:  # else it was not run
            word = "diverged" if all(study.runs[row].diverged for row in rows) else "no score"
            axes.text(x, y, word, ha="center", va="center", fontsize=7, color=DIVERGED)


def importances(study: Study) -> Figure | None:
    """Bars of the share of variance of single settings and of the strongest pairs, with the spread over trees."""
    if study.importance is None:
        return None
    names = [setting.name for setting in study.settings]
    entries = [(name, study.importance.share(j), ACCENT) for j, name in enumerate(names)]
    pairs = [(f"{names[i]} × {names[j]}", study.importance.share(i, j), SECOND) for i, j in study.pairs[:8]]
    entries += [entry for entry in pairs if entry[1][0] >= 0.005]
    entries.sort(key=lambda entry: -entry[1][0])
    figure, grid = new(0.9 + 0.27 * max(len(entries), 3))
    axes = grid[0, 0]
    for y, (_, (mean, low, high), colour) in enumerate(entries):
        axes.barh(y, mean, height=0.62, color=colour)
        axes.plot([low, high], [y, y], color=INK, lw=1.2)
        axes.annotate(f"{mean:.0%}", (max(high, mean), y), (5, 0), textcoords="offset points", va="center", fontsize=8,
                      color=INK)  # fmt: skip
    axes.set_yticks(range(len(entries)), [shorten(entry[0], 60) for entry in entries])
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.set_xlim(0, min(1.12, 1.15 * max(high for _, (_, _, high), _ in entries) + 0.05))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("share of the variance of " + (f"log {study.score}" if study.logarithmic else study.score))
    axes.legend(handles=[Patch(color=ACCENT), Patch(color=SECOND), Line2D([], [], color=INK, lw=1.2)],
                labels=["a setting alone", "two together, beyond each alone", "10 to 90% of the trees"],
                loc="lower right")  # fmt: skip
    return figure


def failures(study: Study) -> Figure | None:
    """For each setting the share of diverged, collapsed and crashed runs by level."""
    over, *bad = study.failures(study.rows).values()
    if not study.settings or not any(bad):
        return None
    figure, grid = setting_panels(study, 2.5)
    looks = (("diverged", DIVERGED, ""), ("collapsed", COLLAPSED, ""), ("failed", FAILED, "///"))
    for axes, levels in grid:
        for x, level in enumerate(levels):
            counts, bottom = study.failures(level.rows), 0.0
            for word, colour, hatch in looks:
                share = counts[word] / max(counts["over"], 1)
                axes.bar(x, share, 0.66, bottom, color=colour, hatch=hatch, edgecolor="white", lw=0.6)
                bottom += share
            count = sum(counts[word] for word, _, _ in looks)
            axes.annotate(f"{count}/{counts['over']}", (x, bottom), (0, 3), textcoords="offset points", ha="center",
                          fontsize=7.5 if len(levels) < 7 else 6.5, color=SOFT)  # fmt: skip
        axes.set_ylim(0, 1.12)
        axes.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
        axes.set_xlim(-0.6, len(levels) - 0.4)
    patches = [Patch(color=DIVERGED), Patch(color=COLLAPSED), Patch(facecolor=FAILED, hatch="///", edgecolor="white")]
    figure.legend(patches, ["diverged", "collapsed", "failed otherwise"], loc="outside upper right", ncols=3)
    return figure
