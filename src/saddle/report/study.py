"""The runs of a sweep as arrays, and what is computed from them. Free of torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saddle.config.compose import near
from saddle.errors import InputError
from saddle.report import statistics
from saddle.report.importance import Importance, importance
from saddle.report.reading import ABSENT, Run, read_yaml
from saddle.report.settings import CHOICE, Setting, find_settings, label
from saddle.report.statistics import SEEDS, Floats
from saddle.run.direction import higher_is_better

FEW = 8  # levels that a reader can tell apart by colour
GOOD = 2.0  # a combination is called good if its mean score is within this factor of the best one's


@dataclass(frozen=True, eq=False)
class Group:
    """Some runs of a sweep.

    Attributes:
        rows: of the runs.
        scores: of those that have finished with one.
        mean: over combinations of their mean score (geometric where scores are compared by ratios); NaN without scores.
        interval: of the mean, 95%; None where the rule forbids one.
    """

    rows: tuple[int, ...]
    scores: Floats
    mean: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Cell(Group):
    """The runs of one combination of settings, their values, and the ends of the scores (NaN without any)."""

    values: tuple[Any, ...]
    best: float
    worst: float


@dataclass(frozen=True, eq=False)
class Level(Group):
    """The runs at one level of one setting."""

    name: str


class Study:
    """A sweep with its settings and scores.

    Only finished runs enter statistics of the score. A run that diverged has no score; where a number is needed
    (budget, importance) it counts as the worst score seen.

    Args:
        runs: of the sweep.
        score: its name.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        trees: of the importance.
    """

    def __init__(self, runs: Sequence[Run], score: str, seed: int = 0, resamples: int = 1000, trees: int = 64):
        self.runs, self.score = list(runs), score
        self.higher = higher_is_better(score, read_yaml(runs[0].folder / "config.yaml") if runs else None)
        self.settings: list[Setting] = find_settings(runs)
        self.seed, self.resamples, self.trees = seed, resamples, trees
        self.newest = np.array([run.score(score) for run in runs])
        self.scores = np.where([run.status == "done" for run in runs], self.newest, np.nan)
        self.logarithmic = statistics.use_logarithm(self.scores)

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers of one figure, whatever the others draw."""
        return np.random.default_rng([self.seed, purpose])

    # ------------------------------------------------------------------------------------------------------ scales

    def scale(self, scores: Floats) -> Floats:
        """Scores as they are compared: as they are, or their logarithm."""
        return np.log10(scores) if self.logarithmic else np.asarray(scores, dtype=float)

    def unscale(self, value: float) -> float:
        """The score of a compared value."""
        return 10.0**value if self.logarithmic else float(value)

    def unscaled(self, interval: tuple[float, float] | None) -> tuple[float, float] | None:
        """The interval of scores of an interval of compared values."""
        return interval and (self.unscale(interval[0]), self.unscale(interval[1]))

    def mean(self, groups: Sequence[Floats]) -> float:
        """The mean over groups of their mean, as scores are compared; NaN of none."""
        return self.unscale(float(np.mean([self.scale(group).mean() for group in groups]))) if groups else math.nan

    def best_first(self, values: Sequence[float] | Floats) -> NDArray[np.int64]:
        """Indices from the best to the worst; NaN last."""
        values = np.asarray(values, dtype=float)
        return np.argsort(np.where(np.isnan(values), np.inf, -values if self.higher else values), kind="stable")

    # ------------------------------------------------------------------------------------------------------- parts

    @cached_property
    def rows(self) -> list[int]:
        """Rows of the runs with a readable config."""
        return [i for i, run in enumerate(self.runs) if run.config]

    @cached_property
    def values(self) -> list[tuple[Any, ...]]:
        """The settings of each run."""
        return [tuple(run.config.get(setting.key, ABSENT) for setting in self.settings) for run in self.runs]

    @cached_property
    def cells(self) -> list[Cell]:
        """The combinations that were run, best mean first."""
        members: dict[tuple[Any, ...], list[int]] = {}
        for i in self.rows:
            members.setdefault(self.values[i], []).append(i)
        cells = [self._cell(values, tuple(rows)) for values, rows in members.items()]
        return [cells[i] for i in self.best_first([cell.mean for cell in cells])]

    def _cell(self, values: tuple[Any, ...], rows: tuple[int, ...]) -> Cell:
        scores = self.scored(rows)
        ends = scores[self.best_first(scores)[[0, -1]]] if len(scores) else (math.nan, math.nan)
        interval = self.unscaled(statistics.t_interval(self.scale(scores)))
        mean = self.mean([scores] if len(scores) else [])
        return Cell(rows, scores, mean, interval, values, float(ends[0]), float(ends[1]))

    def scored(self, rows: Iterable[int]) -> Floats:
        """The scores of those of the runs that have finished with one."""
        scores = self.scores[list(rows)]
        return scores[np.isfinite(scores)]

    @cached_property
    def levels(self) -> list[list[Level]]:
        """For each setting its levels."""
        return [[self._level(j, *level) for level in setting.levels()] for j, setting in enumerate(self.settings)]

    def _level(self, j: int, name: str, values: frozenset[Any]) -> Level:
        cells = [cell for cell in self.cells if cell.values[j] in values]
        rows = tuple(sorted(i for cell in cells for i in cell.rows))
        groups = [cell.scores for cell in cells if len(cell.scores)]
        between = statistics.mean_interval([self.scale(group) for group in groups], self.rng(1000 + j), self.resamples)
        return Level(rows, self.scored(rows), self.mean(groups), self.unscaled(between), name)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two settings, the strongest interaction first, the more important setting first in each."""
        pairs = list(itertools.combinations(self.order, 2))
        if self.importance is not None:
            shares = self.importance.pair.mean(0)
            pairs.sort(key=lambda pair: -shares[pair])
        return pairs

    def pair_means(self, i: int, j: int) -> tuple[Floats, NDArray[np.int64]]:
        """The mean score over combinations, and the number of scored runs, of every two levels of two settings.

        Returns:
            Both [levels of i, levels of j]; a mean without scores is NaN.
        """
        shape = len(self.levels[i]), len(self.levels[j])
        means, counts = np.full(shape, np.nan), np.zeros(shape, dtype=int)
        for a, b in np.ndindex(shape):
            rows = set(self.levels[i][a].rows) & set(self.levels[j][b].rows)
            groups = [cell.scores for cell in self.cells if cell.rows[0] in rows and len(cell.scores)]
            means[a, b], counts[a, b] = self.mean(groups), sum(map(len, groups))
        return means, counts

    def failures(self, rows: Iterable[int]) -> dict[str, int]:
        """Of some runs how many are over, in whatever way, and how many of them diverged, collapsed, failed else."""
        runs = [self.runs[i] for i in rows]
        return {
            "over": sum(run.ended or run.diverged or run.status == "failed" for run in runs),
            "diverged": sum(run.diverged for run in runs),
            "collapsed": sum(run.collapsed for run in runs),
            "failed": sum(run.status == "failed" and not run.diverged for run in runs),
        }

    def penalised(self, rows: Iterable[int]) -> tuple[list[int], Floats]:
        """Rows and scores of the runs that ended; one without a score counts as the worst seen."""
        known = self.scored(range(len(self.runs)))
        if not len(known):
            return [], np.zeros(0)
        worst = known.min() if self.higher else known.max()
        ended = [i for i in rows if self.runs[i].ended]
        return ended, np.array([self.scores[i] if np.isfinite(self.scores[i]) else worst for i in ended])

    # -------------------------------------------------------------------------------------------------- statistics

    @cached_property
    def importance(self) -> Importance | None:
        """Shares of the variance that settings explain."""
        rows, scores = self.penalised(self.rows)
        number = {row: n for n, cell in enumerate(self.cells) for row in cell.rows}
        positions = np.array(
            [[s.position(v) for s, v in zip(self.settings, self.values[i], strict=True)] for i in rows]
        )
        cells = np.array([number[i] for i in rows], dtype=np.int64)
        return importance(self.settings, positions, self.scale(scores), cells, self.rng(2), self.trees)

    @cached_property
    def order(self) -> list[int]:
        """The settings, the most important first; by the spread of their levels' means where nothing was estimated."""
        if self.importance is not None:
            weight = self.importance.single.mean(0) + self.importance.pair.mean(0).sum(0) / 2
        else:
            means = [self.scale(np.array([level.mean for level in levels])) for levels in self.levels]
            weight = np.array([np.ptp(each[np.isfinite(each)]) if np.isfinite(each).any() else 0.0 for each in means])
        return np.argsort(-weight, kind="stable").tolist()

    @cached_property
    def explained(self) -> float | None:
        """The share of the variance of single runs that is not the seed's; None without repeats."""
        return statistics.explained([self.scale(cell.scores) for cell in self.cells if len(cell.scores)])

    @cached_property
    def repeated(self) -> list[Cell]:
        """The cells with enough seeds for a claim, best mean first."""
        return [cell for cell in self.cells if len(cell.scores) >= SEEDS]

    @cached_property
    def comparisons(self) -> Floats | None:
        """Corrected p values between all cells of `repeated`; None with fewer than two of them."""
        if len(self.repeated) < 2:
            return None
        return statistics.compare_all([self.scale(cell.scores) for cell in self.repeated])

    def p_value(self, cell: Cell) -> float:
        """The corrected p value of a cell against the best one with enough seeds; NaN where no claim is made."""
        if self.comparisons is None or cell not in self.repeated[1:]:
            return math.nan
        return float(self.comparisons[0, self.repeated.index(cell)])

    def good(self, cells: Iterable[Cell]) -> tuple[int, int] | None:
        """How many of some combinations have a mean within a factor of two of the best, and of how many.

        One none of whose runs reached a score although they ended is not good, nor is one that a search ended early.
        None where scores can be negative.
        """
        known = self.scored(range(len(self.runs)))
        if not len(known) or known.min() <= 0:
            return None
        judged = [cell for cell in cells if any(self.runs[i].ended or self.runs[i].hopeless for i in cell.rows)]
        ratios = [cell.mean / self.cells[0].mean for cell in judged]
        return sum(ratio >= 1 / GOOD if self.higher else ratio <= GOOD for ratio in ratios), len(judged)

    # ----------------------------------------------------------------------------------------------------- choices

    def index(self, option: str, name: str) -> int:
        """The number of the setting that an option names.

        Raises:
            InputError: if it did not vary; says what did.
        """
        for j, setting in enumerate(self.settings):
            if name in {each for key in (setting.key, *setting.follows) for each in (key, key.removeprefix(CHOICE))}:
                return j
        names = [setting.name for setting in self.settings]
        listed = ", ".join(names) or "nothing"
        raise InputError(f"{option}={name}: no such setting was varied{near(name, names)} (varied: {listed})")

    def split(self, by: str | None) -> int | None:
        """The setting that curves are split by: the named one, else the most important with few levels."""
        if by is not None:
            return self.index("by", by)
        few = [j for j in self.order if len(self.settings[j].levels()) <= FEW]
        named = [j for j in few if not self.settings[j].numeric]
        return next(iter(named or few), None)

    def describe(self, values: Sequence[Any]) -> str:
        """A combination as it is typed."""
        return (
            ", ".join(f"{s.name}={label(v)}" for s, v in zip(self.settings, values, strict=True)) or "the only setting"
        )
