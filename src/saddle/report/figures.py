"""The figures of a report: functions of a study that give a matplotlib figure, or None where there is nothing to show.

Free of torch. Colours are those of Okabe and Ito, which colour-blind readers can tell apart; on colour maps darker is
better.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from saddle.report import statistics
from saddle.report.reading import LOSSES, Curve, Run
from saddle.report.settings import Setting
from saddle.report.study import Cell, Level, Study

INK, SOFT, FAINT, ACCENT = "#222222", "#767676", "#d9d9d9", "#0072b2"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c2e", "#4d4d4d")
DIVERGED, COLLAPSED, FAILED = "#d55e00", "#e69f00", "#a6a6a6"
WIDTH = 9.2  # inches
SHOWN = 40  # combinations in one figure
CURVES = 240  # training curves drawn one by one
PAIRS = 6  # interaction maps on the page
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9a9a9a",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": "#ececec",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,
}


def styled() -> Any:
    """The style of all figures, as a context."""
    return mpl.rc_context(STYLE)


def new(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure with a grid of axes: [rows, columns]."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def tidy(axis: Any, numbers: Sequence[float] | np.ndarray) -> None:
    """Plain numbers on a logarithmic axis, ticks where a reader expects them."""
    values = np.asarray(numbers, dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    spread = values.max() / values.min() if len(values) else 1.0
    subs = (1.0, 2.0, 5.0) if spread < 300 else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def score_axis(study: Study, axes: Axes, which: str) -> None:
    """Scale and ticks of an axis that shows the score."""
    if study.logarithmic:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        tidy(axes.xaxis if which == "x" else axes.yaxis, study.scores)


def goodness(study: Study) -> str:
    """Which direction of the score is better, in brackets."""
    return f"{study.score} ({'higher' if study.higher else 'lower'} is better)"


def shorten(text: str, length: int = 46) -> str:
    """A text cut in its middle."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"


def brief(setting: Setting, value: Any) -> str:
    """A value with the last part of its key, which a choice of a group does not need."""
    named = setting.key.startswith("choices.") and not setting.numeric
    return (
        setting.short(value)
        if named and value not in (None, "none")
        else f"{setting.name.rpartition('.')[2]} {setting.short(value)}"
    )


def colours_of(study: Study, by: int | None) -> dict[int, str]:
    """The colour of each run: that of its level."""
    if by is None:
        return {}
    return {i: COLOURS[n % len(COLOURS)] for n, level in enumerate(study.levels[by]) for i in level.rows}


def level_legend(study: Study, by: int | None, **options: Any) -> dict[str, Any]:
    """Arguments of a legend that names the levels of a setting."""
    levels = study.levels[by] if by is not None else []
    handles = [Line2D([], [], color=COLOURS[n % len(COLOURS)], lw=2.2) for n in range(len(levels))]
    title = study.settings[by].name if by is not None else None
    names = [level.name for level in levels]
    across = max(1, 110 // (8 + max(map(len, names), default=1)))  # entries of this length in the width of a figure
    return {
        "handles": handles,
        "labels": names,
        "ncols": min(8, across),
        "title": title,
        "title_fontsize": 8,
        **options,
    }


# ------------------------------------------------------------------------------------------------------------ settings


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


def panels(count: int, height: float, most: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of equal size; the rest of the grid is left empty."""
    columns = min(count, most)
    rows = math.ceil(count / columns)
    figure, grid = new(height * rows + 0.2, rows, columns)
    axes = list(grid.ravel())
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def level_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names of levels below an axis, slanted where they are long."""
    slanted = sum(map(len, names)) > 26
    axes.set_xticks(range(len(names)), [shorten(name, 20) for name in names])
    if slanted:
        for text in axes.get_xticklabels():
            text.set(rotation=35, ha="right", rotation_mode="anchor")


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
            axes.text(
                x, y, f"{value:.3g}", ha="center", va="center", fontsize=7.5, color="white" if depth > 0.55 else INK
            )


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


# -------------------------------------------------------------------------------------------------------------- budget


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


# -------------------------------------------------------------------------------------------------------- coordinates


def parallel(study: Study) -> Figure | None:
    """Every run a line through its settings to its score."""
    rows = [i for i in study.rows if np.isfinite(study.scores[i])]
    if not rows or not study.settings:
        return None
    order = study.order[::-1]  # the most important next to the score
    compared = study.scale(study.scores[rows])
    low, high = float(compared.min()), float(compared.max())
    heights = np.array([[axis_height(study.settings[j], study.values[i][j]) for j in order] for i in rows], dtype=float)
    final = (compared - low) / (high - low or 1)
    lines = np.concatenate([heights, final[:, None]], axis=1)
    spread = 0.012 if len(rows) < 100 else 0.035  # so that lines that share levels stay visible
    lines[:, :-1] += spread * np.sin(2.4 * np.arange(len(rows)))[:, None]
    draw = study.best_first(study.scores[rows])[::-1]
    colour_map = mpl.colormaps["YlGnBu" if study.higher else "YlGnBu_r"]
    figure, grid = new(3.9)
    axes = grid[0, 0]
    x = np.arange(lines.shape[1], dtype=float)
    colours = colour_map(0.15 + 0.85 * final if study.higher else 0.85 * final)
    alpha = float(np.clip(5 / np.sqrt(len(rows)), 0.1, 0.9))
    segments = [np.stack(smooth(x, lines[n]), axis=1) for n in draw]
    axes.add_collection(LineCollection(segments, colors=colours[draw], alpha=alpha, lw=1.1, rasterized=True))
    for position, j in enumerate(order):
        axis_labels(axes, position, study.settings[j])
    axes.vlines(x, 0, 1, color="#9a9a9a", lw=0.8, zorder=3)
    for height in np.linspace(0, 1, 5):
        value = study.unscale(low + height * (high - low))
        axes.annotate(f"{value:.3g}", (x[-1], height), (5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlim(-0.35, x[-1] + 0.3)
    axes.set_ylim(-0.06, 1.06)
    axes.set_xticks(x, [shorten(study.settings[j].name, 22) for j in order] + [study.score])
    for text in axes.get_xticklabels():
        text.set(rotation=20 if len(order) > 5 else 0, ha="right" if len(order) > 5 else "center", fontweight="bold")
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def axis_height(setting: Setting, value: Any) -> float:
    """Where a value lies on its axis, from 0 to 1: a list is spread evenly, a searched range by its numbers."""
    if not setting.searched:
        return index_of(setting, value) / max(len(setting.values) - 1, 1)
    low, high = setting.position(setting.values[0]), setting.position(setting.values[-1])
    return (setting.position(value) - low) / (high - low)


def index_of(setting: Setting, value: Any) -> int:
    """The number of a value among a setting's; true and 1 differ."""
    same = (
        n
        for n, each in enumerate(setting.values)
        if each == value and isinstance(each, bool) == isinstance(value, bool)
    )
    return next(same)


def axis_labels(axes: Axes, position: int, setting: Setting) -> None:
    """The values beside an axis of parallel coordinates."""
    if setting.searched:
        ends = (setting.position(setting.values[0]), setting.position(setting.values[-1]))
        marks = [(h, ends[0] + h * (ends[1] - ends[0])) for h in (0, 0.25, 0.5, 0.75, 1)]
        texts = [(h, f"{10**value if setting.logarithmic else value:.3g}") for h, value in marks]
    else:
        texts = [(axis_height(setting, value), shorten(setting.short(value), 16)) for value in setting.values]
    for height, text in texts:
        axes.annotate(text, (position, height), (-4, 0), textcoords="offset points", ha="right", va="center",
                      fontsize=7.5, zorder=4, bbox={"fc": "white", "alpha": 0.92, "lw": 0, "pad": 1.2})  # fmt: skip


def smooth(x: np.ndarray, y: np.ndarray, points: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A line through points that leaves each axis level, so that the eye can follow it."""
    t = np.linspace(0, 1, points)
    ease = t * t * (3 - 2 * t)
    across = np.concatenate([a + t * (b - a) for a, b in zip(x[:-1], x[1:], strict=True)])
    up = np.concatenate([a + ease * (b - a) for a, b in zip(y[:-1], y[1:], strict=True)])
    return across, up


# ---------------------------------------------------------------------------------------------------- curves, samples


def training_curves(study: Study, by: int | None) -> Figure | None:
    """Score and losses against iterations, coloured by the levels of a setting."""
    names = [name for name in (study.score, *LOSSES) if any(len(curve_of(run, name)[0]) > 1 for run in study.runs)]
    if not names:
        return None
    figure, grid = new(2.9, 1, len(names))
    colours = colours_of(study, by)
    for axes, name in zip(grid[0], names, strict=True):
        curves = [(i, curve_of(run, name)) for i, run in enumerate(study.runs) if len(curve_of(run, name)[0]) > 1]
        several = len(curves) > CURVES
        alpha = float(np.clip(8 / max(len(curves), 1), 0.12, 0.75))
        for i, (x, y) in curves[:: max(1, math.ceil(len(curves) / CURVES))]:
            axes.plot(x, y, color=colours.get(i, ACCENT), lw=0.8, alpha=alpha, rasterized=several)
        for n, level in enumerate(study.levels[by] if by is not None else []):
            members = [curve for i, curve in curves if i in set(level.rows)]
            if len(members) >= 2:
                axes.plot(*median_curve(members), color=COLOURS[n % len(COLOURS)], lw=2.2)
        values = np.concatenate([curve[1] for _, curve in curves])
        limit_to_most(axes, values, name == study.score and study.logarithmic)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid()
        axes.set_xlabel("iteration")
        axes.set_title(name, fontweight="bold")
    if by is not None:
        figure.legend(**level_legend(study, by, loc="outside lower center"))
    return figure


def curve_of(run: Run, name: str) -> Curve:
    """A column of metrics.csv; empty where a run has none."""
    return run.curves.get(name, ([], []))


def median_curve(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """The median of several curves where at least half of them have a value."""
    values: dict[int, list[float]] = {}
    for x, y in curves:
        for at, value in zip(x, y, strict=True):
            values.setdefault(at, []).append(value)
    kept = sorted(at for at, found in values.items() if len(found) >= max(2, len(curves) / 2))
    return np.array(kept), np.array([np.median(values[at]) for at in kept])


def limit_to_most(axes: Axes, values: np.ndarray, logarithmic: bool) -> None:
    """Limits that a few exploding runs do not stretch: the middle 98 per cent of all values."""
    low, high = np.quantile(values, [0.01, 0.99])
    if logarithmic and low > 0:
        axes.set_yscale("log")
        tidy(axes.yaxis, values)
        axes.set_ylim(low * 0.85, high * 1.2)
    elif high > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def crop(run: Run, pixels: int) -> Image.Image | None:
    """The upper left of a run's last sample grid: whole images, about `pixels` wide; None where it cannot be read."""
    if run.grid is None:
        return None
    try:
        with Image.open(run.grid) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError):  # SyntaxError: Pillow's word for a broken PNG
        return None
    resolution = run.config.get("data.resolution")
    tile = resolution + 2 if isinstance(resolution, int) else 0
    if tile and (image.width - 2) % tile == 0 and (image.height - 2) % tile == 0:
        side = max(2, pixels // tile) * tile + 2
        return image.crop((0, 0, min(side, image.width), min(side, image.height)))
    return image


def sample_cells(
    study: Study, i: int | None, j: int | None, fixed: Mapping[int, str]
) -> list[list[tuple[str, Run | None]]]:
    """The runs whose samples are shown: for each level of two settings the one with the median score.

    Args:
        study: the sweep.
        i: the setting of the rows, or None.
        j: the setting of the columns, or None.
        fixed: the levels of the other settings.
    """
    rows = [(level.name, set(level.rows)) for level in study.levels[i]] if i is not None else [("", set(study.rows))]
    columns = [(level.name, set(level.rows)) for level in study.levels[j]] if j is not None else [("", set(study.rows))]
    allowed = set(study.rows)
    for setting, name in fixed.items():
        allowed &= next(set(level.rows) for level in study.levels[setting] if level.name == name)
    return [[(name, median_run(study, sorted(a & b & allowed))) for name, b in columns] for _, a in rows]


def median_run(study: Study, rows: Sequence[int]) -> Run | None:
    """Of some runs that with the median score; else the first with samples; None without any."""
    with_grid = [i for i in rows if study.runs[i].grid is not None]
    if not with_grid:
        return None
    scored = [
        with_grid[n] for n in study.best_first(study.newest[with_grid]) if np.isfinite(study.newest[with_grid[n]])
    ]
    return study.runs[scored[(len(scored) - 1) // 2] if scored else with_grid[0]]


def sample_grids(study: Study, i: int | None, j: int | None, fixed: Mapping[int, str]) -> Figure | None:
    """Sample grids side by side: rows and columns are the levels of two settings."""
    table = sample_cells(study, i, j, fixed)
    if not any(run for row in table for _, run in row):
        return None
    columns = max(len(table[0]), 3)
    side = WIDTH / columns
    figure, grid = new((0.94 * min(side, 2.3) + 0.3) * len(table) + 0.3, len(table), len(table[0]))
    for y, row in enumerate(table):
        for x, (name, run) in enumerate(row):
            axes = grid[y, x]
            image = crop(run, 140) if run else None
            if image is not None:
                axes.imshow(np.asarray(image), interpolation="nearest")
            else:
                axes.set_facecolor("#f4f4f4")
                axes.text(
                    0.5, 0.5, "no samples", ha="center", va="center", transform=axes.transAxes, color=SOFT, fontsize=8
                )
                axes.set_box_aspect(1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if y == 0 and j is not None:
                axes.set_title(shorten(f"{study.settings[j].name}={name}", 30), fontsize=8.5, loc="center")
            if x == 0 and i is not None:
                axes.set_ylabel(shorten(study.levels[i][y].name, 22), fontsize=8.5)
            if run:
                score = run.score(study.score)
                axes.set_xlabel(f"{score:.4g}" if math.isfinite(score) else run.status, fontsize=8, color=SOFT)
    if i is not None:
        figure.supylabel(study.settings[i].name, fontsize=9, fontweight="bold")
    return figure


def levels_in_words(levels: Sequence[Level]) -> str:
    """The names of levels, in one line."""
    return ", ".join(level.name for level in levels)
