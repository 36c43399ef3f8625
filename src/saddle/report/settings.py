"""What varied between the runs of a folder. Free of torch.

The jobs of a sweep say it: it is what their command lines differ in. Runs that were started one by one are told apart
by their configs. A config repeats itself there: choosing a model sets thirty keys, and `model.width` is handed to both
networks. So a key that follows another one is not a setting of its own. The seed is a repeat, never a setting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from saddle.config.ranges import is_number
from saddle.report.reading import ABSENT, Run

IGNORED = (
    "logger", "choices.logger", "callbacks", "choices.callbacks", "resume", "study.jobs", "choices.study", "checkpoint",
    "samples", "log_every", "hydra",
)  # fmt: skip  # what cannot change what a run learns
GLOBAL = ("choices.experiment", "study.")  # their files may set any key
CHOICE = "choices."
MANY = 12  # more different numbers than that are a range that was searched, not a list
BINS = 5  # of a searched range, where levels are needed
LOGARITHMIC = 8.0  # largest over smallest value from which an axis is logarithmic


@dataclass(frozen=True)
class Setting:
    """A key that was varied by itself.

    Attributes:
        key: dotted, as in config.yaml.
        values: what it takes, in order.
        follows: the keys that it determines.
    """

    key: str
    values: tuple[Any, ...]
    follows: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The key as it is typed: `model` for the choice of a group."""
        return self.key.removeprefix(CHOICE)

    @cached_property  # asked for every run
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(is_number(value) for value in self.values)

    @property
    def searched(self) -> bool:
        """Whether it is a range of numbers, rather than a list of values."""
        return self.numeric and len(self.values) > MANY

    @property
    def logarithmic(self) -> bool:
        """Whether its values span so much that their logarithm is what varies."""
        return self.numeric and self.values[0] > 0 and self.values[-1] / self.values[0] >= LOGARITHMIC

    def position(self, value: Any) -> float:
        """Where a value lies on an axis: its number, or its logarithm; the index of what is no number."""
        if not self.numeric:
            return float(self.values.index(value))
        return math.log10(value) if self.logarithmic else float(value)

    def short(self, value: Any) -> str:
        """A value as figures show it: options in one folder of a group without the folder's name."""
        folders = {str(each).rpartition("/")[0] for each in self.values}
        return label(value).rpartition("/")[2] if len(folders) == 1 else label(value)

    def levels(self) -> list[tuple[str, frozenset[Any]]]:
        """Labels and the values under each: every value, or a few bins of a searched range of about equal counts."""
        if not self.searched:
            return [(self.short(value), frozenset([value])) for value in self.values]
        parts = np.array_split(np.arange(len(self.values)), BINS)
        bins = [[self.values[i] for i in part] for part in parts]
        return [(f"{each[0]:.2g}–{each[-1]:.2g}", frozenset(each)) for each in bins]


def label(value: Any) -> str:
    """A value as a reader types it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return compact(value) if isinstance(value, float) else str(value)


def compact(value: float) -> str:
    """Three significant digits; all digits of whole thousands."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


# ------------------------------------------------------------------------------------------------------------- finding


def find_settings(runs: Sequence[Run]) -> list[Setting]:
    """The settings that were varied; runs without a readable config are left out.

    Returns:
        Choices of groups first, then in the order of the config.
    """
    columns = varied([run for run in runs if run.config])
    keys = sorted(columns, key=rank)
    typed = typed_keys([run for run in runs if run.config], keys)
    followers: dict[str, list[str]] = {key: [] for key in typed}
    for key in keys:
        if key in typed:
            continue
        determining = [head for head in followers if determines(columns[head], columns[key])]
        leading = [head for head in determining if follows(key, head, columns)]
        if typed:  # what nobody typed follows something that was
            followers[(leading or determining or typed)[0]].append(key)
        elif leading or crossed([columns[head] for head in followers]):
            followers[next(iter(leading or followers))].append(key)
        else:
            followers[key] = []
    return [Setting(key, ordered(columns[key]), tuple(found)) for key, found in followers.items()]


def varied(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The keys with more than one value, and of each its value in every combination of values that was run.

    The seed and its copies are left out, and what cannot change what a run learns.
    """
    columns: dict[str, list[Any]] = {}
    seeds = [repr(run.config.get("seed")) for run in runs]
    for key in dict.fromkeys(key for run in runs for key in run.config):
        values = [run.config.get(key, ABSENT) for run in runs]
        ignored = key == "seed" or any(key == part or key.startswith(f"{part}.") for part in IGNORED)
        if not ignored and any(value != values[0] for value in values) and [repr(value) for value in values] != seeds:
            columns[key] = values
    combinations = list(dict.fromkeys(zip(*columns.values(), strict=True)))
    return {key: [values[n] for values in combinations] for n, key in enumerate(columns)}


def typed_keys(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Those of the varied keys that the command lines of a sweep's jobs differ in; none if a run is of no sweep."""
    lines = [run.overrides for run in runs if run.overrides is not None]
    if len(lines) < len(runs):
        return []
    found: set[str] = set()
    for word in {word for line in lines for word in line}:
        if len({line.get(word) for line in lines}) > 1:
            below = [key for key in keys if key.startswith(f"{word}.")]  # of a mapping that was typed as a whole
            found.update([CHOICE + word] if CHOICE + word in keys else [word] if word in keys else below)
    return [key for key in keys if key in found]


def ordered(values: Sequence[Any]) -> tuple[Any, ...]:
    """The different values: numbers by size, others by first occurrence, an absent one first."""
    distinct = dict.fromkeys(values)
    return tuple(sorted(distinct, key=lambda v: (v != ABSENT, v is not None, (0, v) if is_number(v) else (1, 0))))


def rank(key: str) -> tuple[int, ...]:
    """How much a key looks like what was typed: smaller is more."""
    if key.startswith(GLOBAL):
        return (0, key.count("."))
    if key.startswith(CHOICE):
        return (1, key != "choices.model", key.count("/"))
    return (2, key.endswith("._target_"), key.count("."))


# ----------------------------------------------------------------------------------------------------------- following


def determines(head: Sequence[Any], key: Sequence[Any]) -> bool:
    """Whether no two combinations with the same `head` differ in `key`."""
    return len(set(zip(head, key, strict=True))) == len(set(head))


def crossed(heads: Sequence[Sequence[Any]]) -> bool:
    """Whether several keys were varied in a full grid, each combination once: then what else varies follows them."""
    combinations = list(zip(*heads, strict=True))
    every = math.prod(len(set(head)) for head in heads)
    return len(heads) > 1 and len(combinations) == len(set(combinations)) == every


def follows(key: str, head: str, columns: Mapping[str, list[Any]]) -> bool:
    """Whether `key`, which `head` determines, is what it is because of `head`.

    It is if the file that `head` chooses may set it, or if the two determine each other. Ranges searched at random take
    a new value in every run and so determine each other by accident; where no value occurs twice, a number therefore
    follows only what it equals or is proportional to.
    """
    first, second = columns[head], columns[key]
    if belongs(key, head):
        return True
    if not determines(second, first):
        return False
    if len(set(first)) < len(first) or first == second or not any(map(is_number, (*first, *second))):
        return True
    ratios = [b / a for a, b in zip(first, second, strict=True) if is_number(a) and is_number(b) and a]
    return len(ratios) == len(first) and math.isclose(min(ratios), max(ratios), rel_tol=1e-6)


def belongs(key: str, head: str) -> bool:
    """Whether the file that `head` chooses may set `key`."""
    if head.startswith(GLOBAL):
        return True
    if not head.startswith(CHOICE):
        return False
    group = head.removeprefix(CHOICE)
    chosen_with = ("loss", "penalty", "choices.loss", "choices.penalty") if group == "model" else ()
    return key.startswith((f"{group.replace('/', '.')}.", f"{head}/", *chosen_with))
