"""What all figures share: colours, sizes, axes, legends. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from saddle.report.settings import CHOICE, Setting
from saddle.report.study import Study

INK, SOFT, ACCENT, SECOND = "#222222", "#767676", "#0072b2", "#56b4e9"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c2e", "#4d4d4d")
DIVERGED, COLLAPSED, FAILED = "#d55e00", "#e69f00", "#a6a6a6"
WIDTH = 9.2  # inches
LOOK = Path(__file__).with_name("report.mplstyle")  # of all figures, as matplotlib reads it

Place = Literal["outside upper right", "outside lower center"]


def new(height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure with a grid of axes: [rows, columns]."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


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
    """Scale and ticks of the axis ("x" or "y") that shows the score."""
    if study.logarithmic:
        axes.set(**{f"{which}scale": "log"})
        tidy(getattr(axes, f"{which}axis"), study.scores)


def colour_map(study: Study) -> mpl.colors.Colormap:
    """Colours of scores, of which darker is better."""
    return mpl.colormaps["YlGnBu" if study.higher else "YlGnBu_r"]


def bare(axes: Axes) -> None:
    """Axes without lines: their labels stay."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def shorten(text: str, length: int = 46) -> str:
    """A text cut in its middle."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"


def brief(setting: Setting, value: Any) -> str:
    """A value with the last part of its key, which a choice of a group does not need."""
    if setting.key.startswith(CHOICE) and not setting.numeric and value not in (None, "none"):
        return setting.short(value)
    return f"{setting.name.rpartition('.')[2]} {setting.short(value)}"


def colour(level: int) -> str:
    """The colour of a level of the setting that colours show."""
    return COLOURS[level % len(COLOURS)]


def colours_of(study: Study, by: int | None) -> dict[int, str]:
    """The colour of each run: that of its level."""
    return {i: colour(n) for n, level in enumerate(study.levels[by] if by is not None else ()) for i in level.rows}


def level_legend(figure: Figure, study: Study, by: int, place: Place) -> None:
    """A legend that names the levels of a setting."""
    names = [level.name for level in study.levels[by]]
    handles = [Line2D([], [], color=colour(n), lw=2.2) for n in range(len(names))]
    across = max(1, 110 // (8 + max(map(len, names), default=1)))  # entries of this length in the width of a figure
    figure.legend(handles, names, ncols=min(8, across), title=study.settings[by].name, title_fontsize=8, loc=place)


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
