"""Parallel coordinates. Free of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from saddle.report.figures import style
from saddle.report.settings import Setting, compact
from saddle.report.study import Study


def parallel(study: Study) -> Figure | None:
    """Every run a line through its settings to its score, the best of which is on top."""
    rows = [i for i in study.rows if np.isfinite(study.scores[i])]
    if not rows or not study.settings:
        return None
    order = study.order[::-1]  # the most important next to the score
    compared = study.scale(study.scores[rows])
    low, high = float(compared.min()), float(compared.max())
    heights = np.array([[axis_height(study.settings[j], study.values[i][j]) for j in order] for i in rows], dtype=float)
    final = (compared - low) / (high - low or 1)
    lines = np.concatenate([heights, (final if study.higher else 1 - final)[:, None]], axis=1)
    spread = 0.012 if len(rows) < 100 else 0.035  # so that lines that share levels stay visible
    lines[:, :-1] += spread * np.sin(2.4 * np.arange(len(rows)))[:, None]
    draw = study.best_first(study.scores[rows])[::-1]
    colour_map = style.colour_map(study)
    figure, grid = style.new(3.9)
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
        value = study.unscale(low + (height if study.higher else 1 - height) * (high - low))
        axes.annotate(compact(value), (x[-1], height), (5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlim(-0.35, x[-1] + 0.3)
    axes.set_ylim(-0.06, 1.06)
    axes.set_xticks(x, [style.shorten(study.settings[j].name, 22) for j in order] + [study.score])
    for text in axes.get_xticklabels():
        text.set(rotation=20 if len(order) > 5 else 0, ha="right" if len(order) > 5 else "center", fontweight="bold")
    axes.set_yticks([])
    style.bare(axes)
    return figure


def axis_height(setting: Setting, value: Any) -> float:
    """Where a value lies on its axis, from 0 to 1: a list is spread evenly, a searched range by its numbers."""
    if not setting.searched:
        return setting.values.index(value) / max(len(setting.values) - 1, 1)
    low, high = setting.position(setting.values[0]), setting.position(setting.values[-1])
    return (setting.position(value) - low) / (high - low)


def axis_labels(axes: Axes, position: int, setting: Setting) -> None:
    """The values beside an axis of parallel coordinates."""
    if setting.searched:
        ends = (setting.position(setting.values[0]), setting.position(setting.values[-1]))
        marks = [(h, ends[0] + h * (ends[1] - ends[0])) for h in (0, 0.25, 0.5, 0.75, 1)]
        texts = [(h, compact(10**value if setting.logarithmic else value)) for h, value in marks]
    else:
        texts = [(axis_height(setting, value), style.shorten(setting.short(value), 16)) for value in setting.values]
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
