"""The trade between fidelity and variety that truncation makes, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from saddle.data.files import made_whole

#: Pairs of scores that show the trade, variety on the horizontal axis; the first that was computed is drawn.
AXES = (
    ("recall", "precision"),
    ("coverage", "density"),
    ("classifier_score", "frechet"),
    ("inception_score", "fid"),
)


def axes_of(scores: Mapping[str, float]) -> tuple[str, str] | None:
    """The horizontal and the vertical score of the first pair in `AXES` that is there; None where none is."""
    for pair in AXES:
        x, y = (f"eval/{name}" for name in pair)
        if x in scores and y in scores:
            return x, y
    return None


def draw_curve(path: Path, points: Sequence[Mapping[str, Any]]) -> None:
    """Write a PNG of scores over truncations.

    One score against another where `axes_of` finds a pair, each point with its truncation beside it; else the first
    score against the truncation. Standard deviations over seeds become error bars.

    Args:
        path: of the PNG.
        points: each with ``truncation`` (null for none), ``scores`` and, over several seeds, ``scores_std``.
    """
    pair = axes_of(points[0]["scores"])
    names = pair or ("truncation", next(iter(points[0]["scores"])))
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    (x, x_error), (y, y_error) = (_values(points, name) for name in names)
    axes.errorbar(x, y, y_error, x_error, marker="o", capsize=2)
    if pair:
        axes.margins(0.12)
        for i, (at, up, point) in enumerate(zip(x, y, points, strict=True)):
            # above and below in turn: neighbours may be close
            place: dict[str, Any] = {"xytext": (-5, -14), "ha": "right"} if i % 2 else {"xytext": (5, 5)}
            axes.annotate(truncation_text(point["truncation"]), (at, up), textcoords="offset points", **place)
    axes.set_xlabel(names[0].removeprefix("eval/"))
    axes.set_ylabel(names[1].removeprefix("eval/"))
    axes.grid(alpha=0.3)
    with made_whole(path) as partial:
        figure.savefig(partial, dpi=150)


def _values(points: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float] | None]:
    if name == "truncation":
        return [float("nan") if p["truncation"] is None else p["truncation"] for p in points], None
    values = [p["scores"][name] for p in points]
    return values, [p["scores_std"][name] for p in points] if "scores_std" in points[0] else None


def truncation_text(truncation: float | None) -> str:
    """A truncation as it is shown: "none" without one."""
    return "none" if truncation is None else f"{truncation:g}"
