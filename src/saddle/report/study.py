"""The runs of a sweep as arrays, and what is computed from them. Free of torch."""

from __future__ import annotations

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
from saddle.report.reading import ABSENT, Run
from saddle.report.settings import Setting, find_settings, label
from saddle.report.statistics import SEEDS, Floats
from saddle.run.direction import higher_is_better

FEW = 8  # levels that a reader can tell apart by colour
GOOD = 2.0  # a combination is called good if its mean score is within this factor of the best one's


@dataclass(frozen=True)
class Cell:
    """One combination of settings.

    Attributes:
        values: of the settings.
        rows: of its runs.
        scores: of its finished runs that have one.
    """

    values: tuple[Any, ...]
    rows: tuple[int, ...]
    scores: Floats


@dataclass(frozen=True)
class Level:
    """One level of one setting.

    Attributes:
        setting: index of the setting.
        name: of the level.
        rows: of its runs.
        scores: of its finished runs that have one.
        mean: over combinations of their mean score (geometric where scores are compared by ratios); NaN without scores.
        interval: of the mean, 95%; None where the rule forbids one.
    """

    setting: int
    name: str
    rows: tuple[int, ...]
    scores: Floats
    mean: float
    interval: tuple[float, float] | None


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
        self.higher = higher_is_better(score)
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
        members: dict[tuple[str, ...], list[int]] = {}
        for i in self.rows:
            members.setdefault(tuple(map(label_exactly, self.values[i])), []).append(i)
        cells = [Cell(self.values[rows[0]], tuple(rows), self.scored(rows)) for rows in members.values()]
        return [cells[i] for i in self.best_first([self.mean(cell.scores) for cell in cells])]

    def scored(self, rows: Iterable[int]) -> Floats:
        """The scores of those of the runs that have finished with one."""
        scores = self.scores[list(rows)]
        return scores[np.isfinite(scores)]

    def mean(self, scores: Floats) -> float:
        """The mean as scores are compared: geometric where by ratios; NaN of none."""
        return self.unscale(float(self.scale(scores).mean())) if len(scores) else math.nan

    def interval(self, cell: Cell) -> tuple[float, float] | None:
        """The 95% interval of a combination's mean; None below three seeds."""
        found = statistics.t_interval(self.scale(cell.scores))
        return found and (self.unscale(found[0]), self.unscale(found[1]))

    @cached_property
    def levels(self) -> list[list[Level]]:
        """For each setting its levels."""
        return [self._levels(j) for j in range(len(self.settings))]

    def _levels(self, j: int) -> list[Level]:
        found = []
        for name, values in self.settings[j].levels():
            cells = [cell for cell in self.cells if among(cell.values[j], values)]
            rows = tuple(sorted(i for cell in cells for i in cell.rows))
            groups = [self.scale(cell.scores) for cell in cells if len(cell.scores)]
            mean = self.unscale(float(np.mean([group.mean() for group in groups]))) if groups else math.nan
            between = statistics.mean_interval(groups, self.rng(1000 + j), self.resamples)
            interval = between and (self.unscale(between[0]), self.unscale(between[1]))
            found.append(Level(j, name, rows, self.scored(rows), mean, interval))
        return found

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
        return [int(j) for j in np.argsort(-weight, kind="stable")]

    @cached_property
    def explained(self) -> float | None:
        """The share of the variance of single runs that is not the seed's; None without repeats."""
        return statistics.explained([self.scale(cell.scores) for cell in self.cells if len(cell.scores)])

    @cached_property
    def repeated(self) -> list[int]:
        """The cells with enough seeds for a claim."""
        return [i for i, cell in enumerate(self.cells) if len(cell.scores) >= SEEDS]

    @cached_property
    def comparisons(self) -> Floats | None:
        """Corrected p values between all cells of `repeated`; None with fewer than two of them."""
        if len(self.repeated) < 2:
            return None
        return statistics.compare_all([self.scale(self.cells[i].scores) for i in self.repeated])

    def good(self, cells: Iterable[Cell]) -> tuple[int, int] | None:
        """How many of some combinations have a mean within a factor of two of the best, and of how many.

        One none of whose runs reached a score although they ended is not good, nor is one that a search ended early.
        None where scores can be negative.
        """
        known = self.scored(range(len(self.runs)))
        if not len(known) or known.min() <= 0:
            return None
        best = self.mean(self.cells[0].scores)
        judged = [cell for cell in cells if any(self.runs[i].ended or self.runs[i].hopeless for i in cell.rows)]
        fine = [
            cell
            for cell in judged
            if len(cell.scores)
            and (self.mean(cell.scores) >= best / GOOD if self.higher else self.mean(cell.scores) <= best * GOOD)
        ]
        return len(fine), len(judged)

    # ----------------------------------------------------------------------------------------------------- choices

    def index(self, option: str, name: str) -> int:
        """The number of the setting that an option names.

        Raises:
            InputError: if it did not vary; says what did.
        """
        names = [setting.name for setting in self.settings]
        for j, setting in enumerate(self.settings):
            if name in (setting.name, setting.key) or any(
                name in (key, key.removeprefix("choices.")) for key in setting.follows
            ):
                return j
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


def label_exactly(value: Any) -> str:
    """A text that differs where values differ."""
    return f"{type(value).__name__}:{value!r}" if isinstance(value, bool) or value is None else repr(value)


def among(value: Any, values: frozenset[Any]) -> bool:
    """Whether a value is one of several; true and 1 differ."""
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)
