"""What varied between the runs of a sweep: found from their configs alone. Free of torch.

A config repeats itself: choosing a model sets thirty keys, and `model.width` is handed to both networks. So a key
counts as a setting only if no other varied key determines it; what follows is folded into what it follows. The seed is
a repeat, never a setting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saddle.report.reading import ABSENT, Run

IGNORED = (
    "logger", "choices.logger", "callbacks", "choices.callbacks", "resume", "study.jobs", "choices.study", "checkpoint",
    "samples", "log_every", "hydra",
)  # fmt: skip  # what cannot change what a run learns
GLOBAL = ("choices.experiment", "study.")  # their files may set any key
CHOICE = "choices."
BY_CHANCE = 0.05  # below this probability that one key follows another by chance, it follows
COMPLETE = 0.9  # share of all combinations that a full grid with a few missing runs has
MANY = 12  # more different numbers than that are a range that was searched, not a list
BINS = 5  # of a searched range, where levels are needed
LOGARITHMIC = 8.0  # largest over smallest value from which an axis is logarithmic

Codes = NDArray[np.int64]


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


def is_number(value: Any) -> bool:
    """An integer or a float, which a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


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
        In the order of the config, choices of groups first.
    """
    read = [run for run in runs if run.config]
    columns = {key: values for key, values in varied(read).items() if not repeats(key, values, read)}
    if not columns:
        return []
    coded = {key: codes(values) for key, values in columns.items()}
    table = np.stack(list(coded.values()), axis=1)
    _, kept_rows = np.unique(table, axis=0, return_index=True)  # seeds that repeat a setting say nothing new
    kept_rows.sort()
    columns = {key: [values[i] for i in kept_rows] for key, values in columns.items()}
    coded = {key: codes(values) for key, values in columns.items()}
    leaders = merge_twins(columns, coded)
    leaders = fold_followers(leaders, columns, coded)
    leaders = fold_combinations(leaders, coded)
    return [Setting(key, ordered(columns[key]), tuple(leaders[key])) for key in sorted(leaders, key=rank)]


def varied(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The keys with more than one value, and their value in each run."""
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    columns: dict[str, list[Any]] = {}
    for key in keys:
        values = [run.config.get(key, ABSENT) for run in runs]
        if any(value != values[0] for value in values):
            columns[key] = values
    return columns


def repeats(key: str, values: Sequence[Any], runs: Sequence[Run]) -> bool:
    """Whether a key is the seed, names the run, or cannot change what it learns."""
    if key == "seed" or any(key == part or key.startswith(f"{part}.") for part in IGNORED):
        return True
    if all(
        value == run.config.get("seed") and not isinstance(value, bool) for value, run in zip(values, runs, strict=True)
    ):
        return True
    return all(isinstance(value, str) and run.folder.name in value for value, run in zip(values, runs, strict=True))


def codes(values: Sequence[Any]) -> Codes:
    """Values as numbers by first occurrence: columns that say the same in other words get the same codes."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(json.dumps(value, default=str), len(seen)) for value in values], dtype=np.int64)


def ordered(values: Sequence[Any]) -> tuple[Any, ...]:
    """The different values: numbers by size, others by first occurrence, an absent one first."""
    distinct = {json.dumps(value, default=str): value for value in values}.values()
    return tuple(sorted(distinct, key=lambda v: (v != ABSENT, v is not None, (0, v) if is_number(v) else (1, 0))))


def rank(key: str) -> tuple[int, ...]:
    """How much a key looks like what was typed: smaller is more."""
    if key.startswith(GLOBAL):
        return (0, key.count("."))
    if key.startswith(CHOICE):
        return (1, key != "choices.model", key.count("/"))
    return (2, key.endswith("._target_"), key.count("."))


# ------------------------------------------------------------------------------------------------------------- folding


def merge_twins(columns: Mapping[str, list[Any]], coded: Mapping[str, Codes]) -> dict[str, list[str]]:
    """Fold keys that determine each other into the one that was likely typed.

    Two ranges searched at random take a new value in every run and so determine each other by accident; where every row
    has its own value, a key therefore follows only what it equals, is proportional to, or belongs to.
    """
    groups: dict[bytes, list[str]] = {}
    for key in coded:
        groups.setdefault(coded[key].tobytes(), []).append(key)
    leaders: dict[str, list[str]] = {}
    for keys in groups.values():
        keys.sort(key=rank)  # stable: of equals the first in the config
        unique = int(coded[keys[0]].max()) + 1 == len(coded[keys[0]])
        heads: list[str] = []
        for key in keys:
            head = next((h for h in heads if not unique or related(h, key, columns)), None)
            if head is None:
                heads.append(key)
                leaders[key] = []
            else:
                leaders[head].append(key)
    return leaders


def related(head: str, key: str, columns: Mapping[str, list[Any]]) -> bool:
    """Whether `key` follows `head` by what they are, not only by how their values fall."""
    first, second = columns[head], columns[key]
    numbers = [(a, b) for a, b in zip(first, second, strict=True) if is_number(a) and is_number(b)]
    if len(numbers) == len(first):
        ratios = [b / a for a, b in numbers if a]
        return first == second or (len(ratios) == len(first) and math.isclose(min(ratios), max(ratios), rel_tol=1e-6))
    return first == second or belongs(key, head) or not any(is_number(value) for value in (*first, *second))


def belongs(key: str, head: str) -> bool:
    """Whether the file that `head` chooses may set `key`."""
    if head.startswith(GLOBAL):
        return True
    if not head.startswith(CHOICE):
        return False
    group = head.removeprefix(CHOICE)
    parts = (group.replace("/", "."), f"{CHOICE}{group}/")
    chosen_with = ("loss", "penalty", "choices.loss", "choices.penalty") if group == "model" else ()
    return key.startswith((f"{parts[0]}.", parts[1])) or key.startswith(chosen_with)


def fold_followers(
    leaders: dict[str, list[str]], columns: Mapping[str, list[Any]], coded: Mapping[str, Codes]
) -> dict[str, list[str]]:
    """Fold a key into one of more values that determines it."""
    kept = dict(leaders)
    for key in sorted(leaders, key=rank, reverse=True):
        for head in sorted((other for other in kept if other != key), key=rank):
            if key.startswith(CHOICE) and not head.startswith((CHOICE, *GLOBAL)):
                continue  # an option of the chosen file does not choose the file
            if determines(coded[head], coded[key]) and (
                belongs(key, head) or chance(coded[head], coded[key]) <= BY_CHANCE
            ):
                kept[head] = [*kept[head], key, *kept.pop(key)]
                break
    return kept


def determines(head: Codes, key: Codes) -> bool:
    """Whether no two rows with the same `head` differ in `key`."""
    first = np.full(int(head.max()) + 1, -1)
    first[head[::-1]] = key[::-1]
    return bool(np.all(first[head] == key))


def chance(head: Codes, key: Codes) -> float:
    """The probability that an independent `key` would be determined by `head` all the same, roughly."""
    shares = np.bincount(key) / len(key)
    return float(np.sum(shares**2) ** (len(head) - (int(head.max()) + 1)))


def fold_combinations(leaders: dict[str, list[str]], coded: Mapping[str, Codes]) -> dict[str, list[str]]:
    """Fold a key that several others determine together, where these were varied in all their combinations.

    In a full grid no key that was itself varied is determined by the others.
    """
    kept = dict(leaders)
    for key in sorted(leaders, key=rank, reverse=True):
        others = [other for other in kept if other != key]
        if len(others) < 2:
            break
        combined = codes([tuple(map(int, row)) for row in np.stack([coded[other] for other in others], axis=1)])
        combinations = math.prod(int(coded[other].max()) + 1 for other in others)
        if int(combined.max()) + 1 >= COMPLETE * combinations and determines(combined, coded[key]):
            kept[min(others, key=rank)] += [key, *kept.pop(key)]
    return kept
