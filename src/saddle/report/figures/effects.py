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
from saddle.report.figures.style import (
    ACCENT,
    COLLAPSED,
    DIVERGED,
    FAILED,
    INK,
    PAIRS,
    SHOWN,
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
from saddle.report.study import Cell, Study


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
        note = failures_in_words(study, cell)
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


def failures_in_words(study: Study, cell: Cell) -> str:
    """How many runs of a setting failed, and how; empty where none did."""
    runs = [study.runs[i] for i in cell.rows]
    counts = {
        "diverged": sum(run.diverged for run in runs),
        "collapsed": sum(run.collapsed for run in runs),
        "failed": sum(run.status == "failed" and not run.diverged for run in runs),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def main_effects(study: Study) -> Figure | None:
    """For each setting the mean score of its levels, all runs behind it."""
    if not study.settings or not np.isfinite(study.scores).any():
        return None
    figure, grid = panels(len(study.settings), 2.7)
    finite = study.scored(range(len(study.runs)))
    for axes, j in zip(grid, study.order, strict=True):
        levels = study.levels[j]
        for x, level in enumerate(levels):
            spread = 0.22 * np.sin(2.4 * np.arange(len(level.scores)))
            axes.plot(x + spread, level.scores, "o", ms=2.8, color="#bcbcbc", mec="none", alpha=0.7, rasterized=True)
            if level.interval:
                axes.plot([x, x], level.interval, color=ACCENT, lw=2.2, solid_capstyle="butt", zorder=3)
        axes.plot(range(len(levels)), [level.mean for level in levels], "o-", color=ACCENT, lw=0.9, ms=4.2, mec="none",
                  zorder=4)  # fmt: skip
        level_ticks(axes, [level.name for level in levels])
        axes.set_title(shorten(study.settings[j].name, 30), fontweight="bold")
        axes.set_xlim(-0.5, len(levels) - 0.5)
        score_axis(study, axes, "y")
        low, high = finite.min(), finite.max()
        pad = (high / low) ** 0.06 if study.logarithmic else 0.06 * (high - low or 1)
        axes.set_ylim((low / pad, high * pad) if study.logarithmic else (low - pad, high + pad))
        axes.grid(axis="y")
    for axes in grid[::4]:  # the first of each row
        axes.set_ylabel(study.score)
    return figure


def interactions(study: Study) -> Figure | None:
    """Heat maps of the mean score over two settings at a time; the strongest interactions first."""
    pairs = ranked_pairs(study)[:PAIRS]
    if not pairs or not np.isfinite(study.scores).any():
        return None
    tables = [pair_means(study, i, j)[0] for i, j in pairs]
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
            write_values(axes, table, norm, dark_is_low=not study.higher)
            write_unscored(axes, study, i, j, table)
        if study.importance is not None:
            share = study.importance.pair[:, i, j].mean()
            axes.set_title(f"interaction {share:.0%}", fontsize=8.5, color=SOFT, loc="center")
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colour_map), ax=grid, shrink=0.75, pad=0.015, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(f"mean {study.score} (darker is better)")
    if study.logarithmic:
        tidy(bar.ax.yaxis, known)
    return figure


def write_values(axes: Axes, table: np.ndarray, norm: Normalize, dark_is_low: bool) -> None:
    """The numbers of a heat map, light on dark fields."""
    for (y, x), value in np.ndenumerate(table):
        if np.isfinite(value):
            depth = 1 - float(norm(value)) if dark_is_low else float(norm(value))
            colour = "white" if depth > 0.55 else INK
            axes.text(x, y, compact(value), ha="center", va="center", fontsize=7.5, color=colour)


def write_unscored(axes: Axes, study: Study, i: int, j: int, table: np.ndarray) -> None:
    """Tell the fields of a heat map whose runs have no score from those that were not run."""
    for (y, x), value in np.ndenumerate(table):
        rows = set(study.levels[i][y].rows) & set(study.levels[j][x].rows)
        if rows and not np.isfinite(value):
            word = "diverged" if all(study.runs[row].diverged for row in rows) else "no score"
            axes.text(x, y, word, ha="center", va="center", fontsize=7, color=DIVERGED)


def ranked_pairs(study: Study) -> list[tuple[int, int]]:
    """Every two settings, the strongest interaction first; rows are the more important one."""
    pairs = [(i, j) for n, i in enumerate(study.order) for j in study.order[n + 1 :]]
    if study.importance is not None:
        mean = study.importance.pair.mean(0)
        pairs.sort(key=lambda pair: -mean[pair])
    return pairs


def pair_means(study: Study, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean score over settings, and the number of scored runs, of every two levels: [levels of i, levels of j]."""
    number = {row: n for n, cell in enumerate(study.cells) for row in cell.rows}
    shape = (len(study.levels[i]), len(study.levels[j]))
    table, counts = np.full(shape, np.nan), np.zeros(shape, dtype=int)
    for a, first in enumerate(study.levels[i]):
        for b, second in enumerate(study.levels[j]):
            cells = {number[row] for row in set(first.rows) & set(second.rows)}
            groups = [study.scale(study.cells[n].scores) for n in sorted(cells) if len(study.cells[n].scores)]
            counts[a, b] = sum(map(len, groups))
            if groups:
                table[a, b] = study.unscale(float(np.mean([group.mean() for group in groups])))
    return table, counts


def importances(study: Study) -> Figure | None:
    """Bars of the share of variance of single settings and of the strongest pairs, with the spread over trees."""
    if study.importance is None:
        return None
    entries = [(study.settings[j].name, study.importance.single[:, j], ACCENT) for j in range(len(study.settings))]
    pairs = [
        (f"{study.settings[i].name} × {study.settings[j].name}", study.importance.pair[:, i, j], "#56b4e9")
        for i, j in ranked_pairs(study)[:8]
    ]
    entries += [pair for pair in pairs if pair[1].mean() >= 0.005]
    entries.sort(key=lambda entry: -entry[1].mean())
    figure, grid = new(0.9 + 0.27 * max(len(entries), 3))
    axes = grid[0, 0]
    for y, (_, shares, colour) in enumerate(entries):
        low, high = np.quantile(shares, [0.1, 0.9])
        axes.barh(y, shares.mean(), height=0.62, color=colour)
        axes.plot([low, high], [y, y], color=INK, lw=1.2)
        axes.annotate(f"{shares.mean():.0%}", (max(high, shares.mean()), y), (5, 0), textcoords="offset points",
                      va="center", fontsize=8, color=INK)  # fmt: skip
    axes.set_yticks(range(len(entries)), [shorten(entry[0], 60) for entry in entries])
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.set_xlim(0, min(1.12, 1.15 * max(float(np.quantile(e[1], 0.9)) for e in entries) + 0.05))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("share of the variance of " + (f"log {study.score}" if study.logarithmic else study.score))
    axes.legend(handles=[Patch(color=ACCENT), Patch(color="#56b4e9"), Line2D([], [], color=INK, lw=1.2)],
                labels=["a setting alone", "two together, beyond each alone", "10 to 90% of the trees"],
                loc="lower right")  # fmt: skip
    return figure


def failure_counts(study: Study, rows: Sequence[int]) -> dict[str, int]:
    """Of some runs: how many there are beside those unfinished, and how many diverged, collapsed, crashed."""
    runs = [study.runs[i] for i in rows]
    diverged, collapsed = sum(run.diverged for run in runs), sum(run.collapsed for run in runs)
    crashed = sum(run.status == "failed" and not run.diverged and not run.collapsed for run in runs)
    over = sum(run.ended or run.diverged or run.collapsed or run.status == "failed" for run in runs)
    return {"runs": over, "diverged": diverged, "collapsed": collapsed, "failed": crashed}


def failures(study: Study) -> Figure | None:
    """For each setting the share of diverged, collapsed and crashed runs by level."""
    if not study.settings or not any(sum(list(failure_counts(study, c.rows).values())[1:]) for c in study.cells):
        return None
    figure, grid = panels(len(study.settings), 2.5)
    for axes, j in zip(grid, study.order, strict=True):
        for x, level in enumerate(study.levels[j]):
            counts, bottom = failure_counts(study, level.rows), 0.0
            for word, colour, hatch in (
                ("diverged", DIVERGED, ""),
                ("collapsed", COLLAPSED, ""),
                ("failed", FAILED, "///"),
            ):
                share = counts[word] / max(counts["runs"], 1)
                axes.bar(x, share, 0.66, bottom, color=colour, hatch=hatch, edgecolor="white", lw=0.6)
                bottom += share
            bad = counts["diverged"] + counts["collapsed"] + counts["failed"]
            axes.annotate(f"{bad}/{counts['runs']}", (x, bottom), (0, 3), textcoords="offset points", ha="center",
                          fontsize=7.5 if len(study.levels[j]) < 7 else 6.5, color=SOFT)  # fmt: skip
        level_ticks(axes, [level.name for level in study.levels[j]])
        axes.set_title(shorten(study.settings[j].name, 30), fontweight="bold")
        axes.set_ylim(0, 1.12)
        axes.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
        axes.set_xlim(-0.6, len(study.levels[j]) - 0.4)
        axes.grid(axis="y")
    patches = [Patch(color=DIVERGED), Patch(color=COLLAPSED), Patch(facecolor=FAILED, hatch="///", edgecolor="white")]
    figure.legend(patches, ["diverged", "collapsed", "failed otherwise"], loc="outside upper right", ncols=3)
    return figure
