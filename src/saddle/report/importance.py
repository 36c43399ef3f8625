"""How much of the variance of the score each setting explains: functional ANOVA of a random forest. Free of torch.

Hutter, Hoos, Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance" (ICML): a tree is
constant on boxes, so its mean over all settings but one or two is an exact sum over its leaves (their algorithm 2). The
space is the product of all settings with equal weight of every value, or of every part of a searched range (of its
logarithm where that is what varies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from saddle.report.settings import Setting
from saddle.report.statistics import SEEDS, Floats

LEAVES = 256  # of a tree: bounds the time that thousands of runs take
LEAF_RUNS = 3  # least runs in a leaf, as in the paper; fewer where settings were repeated
ENOUGH = 8  # scored runs, below which nothing is estimated


@dataclass(frozen=True)
class Importance:
    """Shares of the variance, each tree's own.

    Attributes:
        single: [trees, settings] of each setting alone.
        pair: [trees, settings, settings] of each two beyond what they do alone; 0 on the diagonal, symmetric.
    """

    single: Floats
    pair: Floats

    def share(self, i: int, j: int | None = None) -> tuple[float, float, float]:
        """The share of a setting, or of two together: its mean over the trees, and its 10% and 90% quantiles."""
        shares = self.single[:, i] if j is None else self.pair[:, i, j]
        low, high = np.quantile(shares, [0.1, 0.9])
        return float(shares.mean()), float(low), float(high)


@dataclass(frozen=True)
class Column:
    """One input of the trees: which setting it encodes, and the value that it tells apart (None: its position)."""

    setting: int
    value: int | None

    def of(self, positions: Floats) -> Floats:
        """The input at these positions of the setting."""
        return positions if self.value is None else (positions == self.value).astype(float)


def importance(
    settings: Sequence[Setting],
    positions: Floats,
    scores: Floats,
    cells: NDArray[np.int64],
    rng: np.random.Generator,
    trees: int = 64,
) -> Importance | None:
    """Functional ANOVA of a forest of bootstrapped trees.

    Where every setting has three seeds, the seeds within each are resampled, else the runs: so the spread over trees is
    that of the seeds, or of which runs were drawn.

    Args:
        settings: what varied.
        positions: [runs, settings], of `Setting.position`.
        scores: [runs], finite.
        cells: [runs] number of the combination of settings.
        rng: where the bootstrap comes from.
        trees: how many.

    Returns:
        None with fewer than eight runs, no settings, or scores that are all the same.
    """
    if len(scores) < ENOUGH or not settings or np.ptp(scores) == 0:
        return None
    inputs, columns = encode(settings, positions)
    members = [np.flatnonzero(cells == cell) for cell in np.unique(cells)]
    repeated = all(len(each) >= SEEDS for each in members)
    least = 1 if repeated or len(members) < len(scores) / 2 or len(scores) < 10 * LEAF_RUNS else LEAF_RUNS
    found = []
    for _ in range(trees):
        if repeated:
            rows = np.concatenate([rng.choice(each, len(each)) for each in members])
        else:
            rows = rng.integers(len(scores), size=len(scores))
        tree = DecisionTreeRegressor(
            min_samples_leaf=least, max_leaf_nodes=LEAVES, random_state=int(rng.integers(2**31 - 1))
        )
        tree.fit(inputs[rows], scores[rows])
        shares = decompose(tree, settings, columns, positions)
        if shares is not None:
            found.append(shares)
    return Importance(*map(np.stack, zip(*found, strict=True))) if found else None


def encode(settings: Sequence[Setting], positions: Floats) -> tuple[Floats, list[Column]]:
    """The inputs of the trees: a number as it is, one indicator for each value of anything else."""
    columns = [
        Column(j, value)
        for j, setting in enumerate(settings)
        for value in ([None] if setting.numeric else range(len(setting.values)))
    ]
    return np.stack([column.of(positions[:, column.setting]) for column in columns], axis=1), columns


def decompose(
    fitted: DecisionTreeRegressor, settings: Sequence[Setting], columns: Sequence[Column], positions: Floats
) -> tuple[Floats, Floats] | None:
    """The exact shares of one tree's variance: [settings] of single settings, [settings, settings] of pairs.

    None where the tree is constant.
    """
    atoms, weights = axes(fitted, settings, columns, positions)
    boxes, values = leaves(fitted, columns, atoms)
    mass = np.stack([box @ weight for box, weight in zip(boxes, weights, strict=True)], axis=1)  # [leaves, settings]
    mass = np.maximum(mass, 1e-12)  # a threshold in float32 can round onto the end of a range
    whole = mass.prod(axis=1)
    mean, count = float(whole @ values), len(settings)
    variance = float(whole @ (values - mean) ** 2)
    if variance <= 1e-12 * max(1.0, mean**2):
        return None
    single, pair = np.zeros(count), np.zeros((count, count))
    for j in range(count):
        marginal = boxes[j].T @ ((values - mean) * whole / mass[:, j])
        single[j] = weights[j] @ marginal**2
    for i in range(count):
        for j in range(i + 1, count):
            rest = (values - mean) * whole / (mass[:, i] * mass[:, j])
            marginal = (boxes[i] * rest[:, None]).T @ boxes[j]
            both = weights[i] @ marginal**2 @ weights[j]
            pair[i, j] = pair[j, i] = max(0.0, both - single[i] - single[j])
    return single / variance, pair / variance


def axes(
    fitted: DecisionTreeRegressor, settings: Sequence[Setting], columns: Sequence[Column], positions: Floats
) -> tuple[list[Floats], list[Floats]]:
    """For each setting the points that stand for its parts, and their weights, which sum to 1.

    The parts of a list are its values; those of a searched range lie between the thresholds of the tree.
    """
    tree = fitted.tree_
    inner = tree.children_left >= 0
    atoms, weights = [], []
    for j, setting in enumerate(settings):
        if not setting.searched:
            atoms.append(np.array([setting.position(value) for value in setting.values]))
            weights.append(np.full(len(setting.values), 1 / len(setting.values)))
            continue
        low, high = positions[:, j].min(), positions[:, j].max()
        column = columns.index(Column(j, None))
        edges = np.unique([low, *tree.threshold[inner & (tree.feature == column)], high])
        atoms.append((edges[:-1] + edges[1:]) / 2)
        weights.append(np.diff(edges) / (high - low))
    return atoms, weights


def leaves(
    fitted: DecisionTreeRegressor, columns: Sequence[Column], atoms: Sequence[Floats]
) -> tuple[list[Floats], Floats]:
    """The leaves of a tree: for each setting [leaves, atoms] which parts belong to it (0 or 1), and their values."""
    tree = fitted.tree_
    boxes = [np.ones((tree.node_count, len(axis)), dtype=bool) for axis in atoms]
    for node in np.flatnonzero(tree.children_left >= 0):  # a node comes before its children
        children = [tree.children_left[node], tree.children_right[node]]
        for box in boxes:
            box[children] = box[node]
        column = columns[tree.feature[node]]
        below = column.of(atoms[column.setting]) <= tree.threshold[node]
        boxes[column.setting][children] &= [below, ~below]
    ends = tree.children_left < 0
    return [box[ends].astype(float) for box in boxes], tree.value[ends].ravel()
