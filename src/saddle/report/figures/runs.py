"""Figures of single runs: training curves and samples. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from saddle.errors import InputError
from saddle.image_files import open_image
from saddle.report.figures import style
from saddle.report.reading import LOSSES, Curve, Run
from saddle.report.study import Study

CURVES = 240  # training curves drawn one by one
STRETCH = 3.0  # how much longer than without its most extreme values an axis may be
LINEAR = 10.0  # losses up to this size are drawn to scale, where others are far larger


def training_curves(study: Study, by: int | None) -> Figure | None:
    """Score and losses against iterations, coloured by the levels of a setting."""
    found = {name: {i: run.curves[name] for i, run in enumerate(study.runs) if name in run.curves}
             for name in (study.score, *LOSSES)}  # fmt: skip
    drawn = {name: curves for name, curves in found.items() if curves}
    if not drawn:
        return None
    figure, grid = style.new(2.9, 1, len(drawn))
    colours = style.colours_of(study, by)
    for axes, (name, curves) in zip(grid[0], drawn.items(), strict=True):
        several = len(curves) > CURVES
        alpha = float(np.clip(8 / len(curves), 0.12, 0.75))
        for i, (x, y) in [*curves.items()][:: max(1, math.ceil(len(curves) / CURVES))]:
            axes.plot(x, y, color=colours.get(i, style.ACCENT), lw=0.8, alpha=alpha, rasterized=several,
                      marker="o" if len(x) == 1 else None, ms=4)  # fmt: skip
        for n, level in enumerate(study.levels[by] if by is not None else []):
            members = [curves[i] for i in level.rows if i in curves]
            if len(members) >= 2:
                axes.plot(*median_curve(members), color=style.colour(n), lw=2.2)
        values = np.concatenate([y for _, y in curves.values()])
        limit_to_most(axes, values, study.logarithmic if name == study.score else None)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid()
        axes.set_xlabel("iteration")
        axes.set_title(name, fontweight="bold")
    if by is not None:
        style.level_legend(figure, study, by, "outside lower center")
    return figure


def median_curve(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """The median of several curves where at least half of them have a value."""
    values: dict[int, list[float]] = {}
    for x, y in curves:
        for at, value in zip(x, y, strict=True):
            values.setdefault(at, []).append(value)
    kept = sorted(at for at, found in values.items() if len(found) >= max(2, len(curves) / 2))
    return np.array(kept), np.array([np.median(values[at]) for at in kept])


def limit_to_most(axes: Axes, values: np.ndarray, logarithmic: bool | None) -> None:
    """An axis that shows all values, or the middle 98 per cent where the rest would stretch it.

    Args:
        axes: whose vertical axis it is.
        values: all that is drawn.
        logarithmic: whether the axis is; None for a loss: to scale around zero, and where it must, logarithmic beyond.
    """
    whole, most = np.array([values.min(), values.max()]), np.quantile(values, [0.01, 0.99])
    ends = most if np.ptp(whole) > STRETCH * np.ptp(most) else whole
    if logarithmic and ends[0] > 0:
        axes.set_yscale("log")
        style.tidy(axes.yaxis, values)
    elif logarithmic is None and np.abs(ends).max() > 10 * LINEAR:  # a critic that nothing holds
        axes.set_yscale("symlog", linthresh=LINEAR)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(ends)
    pad = 0.06 * (high - low) or 1.0
    axes.set_ylim(*scale.inverted().transform(np.array([low - pad, high + pad])))


def crop(run: Run, pixels: int) -> Image.Image | None:
    """The upper left of a run's last sample grid: whole images, about `pixels` wide; None where it cannot be read."""
    if run.grid is None:
        return None
    try:
        image = open_image(run.grid).convert("RGB")
    except InputError:
        return None
    resolution = run.config.get("data.resolution")
    tile = resolution + 2 if isinstance(resolution, int) else 0
    if tile > 2 and (image.width - 2) % tile == 0 and (image.height - 2) % tile == 0:
        side = max(2, pixels // tile) * tile + 2
        return image.crop((0, 0, min(side, image.width), min(side, image.height)))
    return image


def sample_runs(study: Study, i: int | None, j: int | None, fixed: Mapping[int, str]) -> list[list[Run | None]]:
    """The runs whose samples are shown: of every two levels of two settings the one with the median score.

    Args:
        i: the setting of the rows, or None.
        j: the setting of the columns, or None.
        fixed: the levels of the other settings.
    """
    allowed = set(study.rows)
    for k, name in fixed.items():
        allowed &= next(set(level.rows) for level in study.levels[k] if level.name == name)
    down, across = ([allowed.intersection(level.rows) for level in study.levels[k]] if k is not None else [allowed]
                    for k in (i, j))  # fmt: skip
    return [[median_run(study, sorted(row & column)) for column in across] for row in down]


def median_run(study: Study, rows: Sequence[int]) -> Run | None:
    """Of some runs that with the median score, of an even number the worse; else the first with samples, or None."""
    shown = [i for i in rows if study.runs[i].grid is not None]
    scored = [i for i in shown if np.isfinite(study.newest[i])]
    if scored:
        return study.runs[scored[study.best_first(study.newest[scored])[len(scored) // 2]]]
    return study.runs[shown[0]] if shown else None


def sample_grids(study: Study, i: int | None, j: int | None, fixed: Mapping[int, str]) -> Figure | None:
    """Sample grids side by side: rows and columns are the levels of two settings."""
    table = sample_runs(study, i, j, fixed)
    if not any(run for row in table for run in row):
        return None
    side = min(style.WIDTH / max(len(table[0]), 3), 2.3)
    figure, grid = style.new((0.94 * side + 0.3) * len(table) + 0.3, len(table), len(table[0]))
    for (y, x), axes in np.ndenumerate(grid):
        show_samples(axes, study, table[y][x])
        if y == 0 and j is not None:
            title = f"{study.settings[j].name}={study.levels[j][x].name}"
            axes.set_title(style.shorten(title, 30), fontsize=8.5, loc="center")
        if x == 0 and i is not None:
            axes.set_ylabel(style.shorten(study.levels[i][y].name, 22), fontsize=8.5)
    if i is not None:
        figure.supylabel(study.settings[i].name, fontsize=9, fontweight="bold")
    return figure


def show_samples(axes: Axes, study: Study, run: Run | None) -> None:
    """The samples of a run above its score; an empty field without them."""
    image = crop(run, 140) if run else None
    if image is not None:
        axes.imshow(np.asarray(image), interpolation="nearest")
    else:
        axes.set_facecolor("#f4f4f4")
        axes.text(0.5, 0.5, "unreadable" if run else "no samples", ha="center", va="center",
                  transform=axes.transAxes, color=style.SOFT, fontsize=8)  # fmt: skip
        axes.set_box_aspect(1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if run:
        score = run.score(study.score)
        axes.set_xlabel(f"{score:.4g}" if math.isfinite(score) else run.status, fontsize=8, color=style.SOFT)
