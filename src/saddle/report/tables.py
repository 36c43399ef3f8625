"""The tables of a report, as CSV files. Free of torch."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddle.report import figures, page
from saddle.report.settings import label
from saddle.report.statistics import share_interval
from saddle.report.study import Study

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
    """Write a CSV file; None and NaN as nothing."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([["" if v is None or v != v else float(v) if isinstance(v, np.floating) else v for v in row]
                          for row in rows])  # fmt: skip


def run_rows(study: Study) -> Iterable[Sequence[Any]]:
    """Every run."""
    for run, values, score in zip(study.runs, study.values, study.newest, strict=True):
        get = run.results.get
        known = [label(value) if run.config else None for value in values]
        yield [run.name, run.status, get("error"), run.diverged, run.collapsed, *known, run.config.get("seed"), score,
               get("iterations"), get("seconds")]  # fmt: skip


def setting_rows(study: Study) -> Iterable[Sequence[Any]]:
    """Every combination of settings, best mean first."""
    for n, cell in enumerate(study.cells):
        counts, interval = figures.failure_counts(study, cell.rows), study.interval(cell) or (None, None)
        yield [*map(label, cell.values), len(cell.rows), len(cell.scores), study.mean(cell.scores), *interval,
               *page.extremes(study, cell), page.p_value(study, n), *counts.values()]  # fmt: skip


def level_rows(study: Study) -> Iterable[Sequence[Any]]:
    """Every level of every setting."""
    for setting, levels in zip(study.settings, study.levels, strict=True):
        for level in levels:
            counts = figures.failure_counts(study, level.rows)
            over, bad = counts["runs"], sum(counts.values()) - counts["runs"]
            share = (bad / over, *share_interval(bad, over)) if over else (None, None, None)
            yield [setting.name, level.name, len(level.rows), len(level.scores), level.mean,
                   *(level.interval or (None, None)), *counts.values(), *share]  # fmt: skip


def pair_rows(study: Study) -> Iterable[Sequence[Any]]:
    """The mean score of every two levels of every two settings."""
    for i, j in figures.ranked_pairs(study):
        table, counts = figures.pair_means(study, i, j)
        for (a, b), mean in np.ndenumerate(table):
            yield [study.settings[i].name, study.levels[i][a].name, study.settings[j].name, study.levels[j][b].name,
                   int(counts[a, b]), mean]  # fmt: skip


def importance_rows(study: Study) -> Iterable[Sequence[Any]]:
    """The share of every setting and of every two."""
    found = study.importance
    if found is None:
        return
    for j in study.order:
        shares = found.single[:, j]
        yield [study.settings[j].name, None, shares.mean(), *np.quantile(shares, [0.1, 0.9])]
    for i, j in figures.ranked_pairs(study):
        shares = found.pair[:, i, j]
        yield [study.settings[i].name, study.settings[j].name, shares.mean(), *np.quantile(shares, [0.1, 0.9])]


def budget_rows(study: Study, by: int | None) -> Iterable[Sequence[Any]]:
    """The expected best score of k runs, of all and of each level."""
    for n, (name, _, rows) in enumerate(figures.budget_groups(study, by)):
        found = figures.budget_curve(study, rows, 3000 + n)
        for k, best, low, high in zip(found[0], found[1], *found[2], strict=True) if found else ():
            yield [name, k, best, low, high]
