"""Figures of single runs: training curves and samples. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from saddle.report.figures.style import (
    ACCENT,
    COLOURS,
    SOFT,
    WIDTH,
    colours_of,
    level_legend,
    new,
    shorten,
    tidy,
)
from saddle.report.reading import LOSSES, Curve, Run
from saddle.report.study import Study

CURVES = 240  # training curves drawn one by one


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
