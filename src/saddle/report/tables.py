"""The tables of a report, as CSV files. Free of torch."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddle.report.figures.budget import budget_curves
from saddle.report.settings import label
from saddle.report.statistics import share_interval
from saddle.report.study import Study

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what begins a formula; settings and errors are whatever a run's files say
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
FAILURES = ("over", "diverged", "collapsed", "failed")  # over: runs that ended in whatever way


def write_tables(study: Study, by: int | None, folder: Path) -> None:
    """Write what the figures show as CSV files."""
    names = [setting.name for setting in study.settings]
    interval, two = ("low", "high"), ("setting", "level", "other", "other_level")
    run = ("run", "status", "error", "diverged", "collapsed", *names, "seed", study.score, "iterations", "seconds")
    setting = (*names, "runs", "scored", "mean", *interval, "best", "worst", "p_vs_best", *FAILURES)
    level = ("setting", "level", "runs", "scored", "mean", *interval, *FAILURES, "bad_share", "bad_low", "bad_high")
    write_csv(folder / "runs.csv", run, run_rows(study))
    write_csv(folder / "settings.csv", setting, setting_rows(study))
    write_csv(folder / "levels.csv", level, level_rows(study))
    write_csv(folder / "interactions.csv", (*two, "scored", "mean"), pair_rows(study))
    write_csv(folder / "importance.csv", ("setting", "with", "share", *interval), importance_rows(study))
    write_csv(folder / "budget.csv", ("group", "k", "expected_best", *interval), budget_rows(study, by))


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([*map(cell, row)] for row in (head, *rows))


def cell(value: Any) -> Any:
    """A value of a CSV file: None and NaN as nothing; a text that spreadsheets would compute begins with a quote."""
    if value is None or value != value:
        return ""
    if isinstance(value, str) and value.startswith(FORMULA) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return float(value) if isinstance(value, np.floating) else value


def run_rows(study: Study) -> Iterable[Sequence[Any]]:
    """Every run."""
    for run, values, score in zip(study.runs, study.values, study.newest, strict=True):
        get = run.results.get
        known = [label(value) if run.config else None for value in values]
        yield [run.name, run.status, get("error"), run.diverged, run.collapsed, *known, run.config.get("seed"), score,
               get("iterations"), get("seconds")]  # fmt: skip


def setting_rows(study: Study) -> Iterable[Sequence[Any]]:
    """Every combination of settings, best mean first."""
    for cell in study.cells:
        yield [*map(label, cell.values), len(cell.rows), len(cell.scores), cell.mean, *(cell.interval or (None, None)),
               cell.best, cell.worst, study.p_value(cell), *study.failures(cell.rows).values()]  # fmt: skip


def level_rows(study: Study) -> Iterable[Sequence[Any]]:
    """Every level of every setting."""
    for setting, levels in zip(study.settings, study.levels, strict=True):
        for level in levels:
            over, *failed = study.failures(level.rows).values()
            share = (sum(failed) / over, *share_interval(sum(failed), over)) if over else (None, None, None)
            yield [setting.name, level.name, len(level.rows), len(level.scores), level.mean,
                   *(level.interval or (None, None)), over, *failed, *share]  # fmt: skip


def pair_rows(study: Study) -> Iterable[Sequence[Any]]:
    """The mean score of every two levels of every two settings."""
    for i, j in study.pairs:
        means, counts = study.pair_means(i, j)
        for (a, b), mean in np.ndenumerate(means):
            yield [study.settings[i].name, study.levels[i][a].name, study.settings[j].name, study.levels[j][b].name,
                   counts[a, b], mean]  # fmt: skip


def importance_rows(study: Study) -> Iterable[Sequence[Any]]:
    """The share of every setting and of every two."""
    if study.importance is None:
        return
    for j in study.order:
        yield [study.settings[j].name, None, *study.importance.share(j)]
    for i, j in study.pairs:
        yield [study.settings[i].name, study.settings[j].name, *study.importance.share(i, j)]


def budget_rows(study: Study, by: int | None) -> Iterable[Sequence[Any]]:
    """The expected best score of k runs, of all and of each level."""
    for curve in budget_curves(study, by):
        for k, best, low, high in zip(curve.budgets, curve.best, *curve.band, strict=True):
            yield [curve.name, k, best, low, high]
