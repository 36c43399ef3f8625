"""From a sweep folder to its report. Free of torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from omegaconf import DictConfig

from saddle.config.compose import near
from saddle.errors import InputError
from saddle.report.figures.budget import budget
from saddle.report.figures.coordinates import parallel
from saddle.report.figures.effects import failures, importances, interactions, main_effects, scores_by_setting
from saddle.report.figures.runs import sample_grids, sample_runs, training_curves
from saddle.report.figures.style import LOOK
from saddle.report.page import page
from saddle.report.reading import read_sweep
from saddle.report.settings import label
from saddle.report.study import FEW, Study
from saddle.report.summary import plural
from saddle.report.tables import TABLES, write_tables
from saddle.run.folder import write_atomic
from saddle.run.target import check_target

FIGURES = (
    *("scores", "main_effects", "interactions", "importance", "failures"),
    *("budget", "parallel", "curves", "samples"),
)
MARK = b'<meta name="generator" content="saddle">'  # in every page of a report


def build_report(cfg: DictConfig) -> Path:
    """Write the report of `cfg.sweep`: an HTML file, and beside it CSV files and the figures.

    Returns:
        The HTML file.

    Raises:
        InputError: if the folder, the score or a setting that an option names is not there; says what is.
    """
    sweep = Path(str(cfg.sweep))
    study = Study(read_sweep(sweep, cfg.score), cfg.score, cfg.seed, cfg.resamples, cfg.trees)
    by = study.split(None if cfg.by is None else str(cfg.by))
    named = named_slice(study, list(cfg.where))
    rows, columns = grid_settings(study, cfg.rows, cfg.columns, named)
    fixed = completed_slice(study, rows, columns, named)
    out = Path(str(cfg.out)) if cfg.out is not None else sweep / "report" / "report.html"
    if out.suffix != ".html":
        raise InputError(f"out={out}: must be a file that ends in .html; CSV files and figures are written beside it")
    beside = [out.parent / name for name in (*(f"{figure}.png" for figure in FIGURES), *TABLES)]
    check_target(out, lambda path: cfg.out is None or MARK in path.read_bytes(), [] if cfg.out is None else beside)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_all(study, by, rows, columns, fixed, out.parent)
    write_tables(study, by, out.parent)
    write_atomic(out, page(study, str(sweep), by, fixed, drawn))
    runs, settings = plural(len(study.runs), "run"), plural(len(study.settings), "setting")
    print(f"{runs}, {settings} varied; report: {out}", flush=True)
    return out


# ------------------------------------------------------------------------------------------------------------- choices


def named_slice(study: Study, where: Sequence[Any]) -> dict[int, str]:
    """The levels that the texts of `where` name, such as "model.d_steps:1", by setting.

    Raises:
        InputError: naming what is wrong.
    """
    fixed: dict[int, str] = {}
    for text in map(str, where):
        key, colon, value = text.partition(":")
        if not colon:
            raise InputError(f"where={text}: write key:value, e.g. where=[model.d_steps:1]")
        k = study.index("where", key)
        levels = study.settings[k].levels()
        names = {text: name for name, values in levels for each in values for text in (name, label(each))}
        if value not in names:
            raise InputError(f"where={text}: no run has it{near(value, names)} ({key}: {', '.join([*names][:12])})")
        fixed[k] = names[value]
    return fixed


def grid_settings(study: Study, rows: Any, columns: Any, fixed: Collection[int]) -> tuple[int | None, int | None]:
    """The settings of rows and columns of the sample grids: those named, else the most important with few levels.

    Raises:
        InputError: if they are the same, or one of them is held fixed by `where`.
    """
    i = None if rows is None else study.index("rows", str(rows))
    j = None if columns is None else study.index("columns", str(columns))
    if i is not None and i == j:
        raise InputError(f"rows={rows} and columns={columns} are the same setting: choose two, or leave one out")
    for option, name, k in (("rows", rows, i), ("columns", columns, j)):
        if k in fixed:
            raise InputError(f"{option}={name}: where= holds it at one value; leave it out of one of the two")
    free = iter(k for k in study.order if k not in (i, j, *fixed) and len(study.settings[k].levels()) <= FEW)
    j = next(free, None) if j is None else j
    return next(free, None) if i is None else i, j


def completed_slice(study: Study, i: int | None, j: int | None, fixed: dict[int, str]) -> dict[int, str]:
    """The levels at which the sample grids hold the settings that they do not show.

    Those not named are held as in the best run, so that like is compared with like; where that would leave a quarter of
    the fields empty, as in a search at random, they are not held at all.
    """
    best = next((i for i in study.best_first(study.newest) if study.runs[i].config), None)
    if best is None:
        return fixed
    rest = {
        k: next(level.name for level in levels if best in level.rows)
        for k, levels in enumerate(study.levels)
        if k not in (i, j, *fixed)
    }
    held = {**rest, **fixed}
    shown, possible = (
        sum(run is not None for row in sample_runs(study, i, j, levels) for run in row) for levels in (held, fixed)
    )
    return held if shown >= 0.75 * possible else fixed


# ------------------------------------------------------------------------------------------------------------- figures


def draw_all(
    study: Study, by: int | None, rows: int | None, columns: int | None, fixed: dict[int, str], folder: Path
) -> dict[str, Path | None]:
    """Draw every figure into a PNG file; None for those that have nothing to show."""
    with mpl.rc_context(fname=LOOK):
        made = (
            scores_by_setting(study, by),
            main_effects(study),
            interactions(study),
            importances(study),
            failures(study),
            budget(study, by),
            parallel(study),
            training_curves(study, by),
            sample_grids(study, rows, columns, fixed),
        )
        return {name: save(figure, folder / f"{name}.png") for name, figure in zip(FIGURES, made, strict=True)}


def save(figure: Figure | None, path: Path) -> Path | None:
    """Write a figure; one of an earlier report that would be none now is removed."""
    if figure is None:
        path.unlink(missing_ok=True)
        return None
    figure.savefig(path)
    return path
