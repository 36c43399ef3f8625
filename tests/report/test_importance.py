"""Functional ANOVA against the analysis of variance of functions whose shares are known."""

import itertools

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from saddle.report.importance import Column, decompose, encode, importance
from saddle.report.settings import Setting


def grid(settings: list[Setting]) -> np.ndarray:
    """The positions of a full grid: [combinations, settings]."""
    return np.array([[s.position(v) for s, v in zip(settings, values, strict=True)]
                     for values in itertools.product(*(s.values for s in settings))])  # fmt: skip


def exact(settings: list[Setting], scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of a full grid by averages over its axes: the textbook's analysis of variance."""
    table = scores.reshape([len(s.values) for s in settings])
    table, count = table - table.mean(), len(settings)
    axes = set(range(count))
    single = np.array([(table.mean(axis=tuple(axes - {j})) ** 2).mean() for j in range(count)])
    pair = np.zeros((count, count))
    for i, j in itertools.permutations(range(count), 2):
        pair[i, j] = (table.mean(axis=tuple(axes - {i, j})) ** 2).mean() - single[i] - single[j]
    return single / table.var(), pair / table.var()


SETTINGS = [Setting("choices.loss", ("hinge", "wasserstein", "minimax")), Setting("lr", (1e-4, 1e-3, 1e-2, 1e-1)),
            Setting("flag", (False, True))]  # fmt: skip


def test_a_full_tree_gives_the_textbooks_shares() -> None:
    positions = grid(SETTINGS)
    scores = np.random.default_rng(0).normal(size=len(positions))
    inputs, columns = encode(SETTINGS, positions)
    found = decompose(DecisionTreeRegressor(random_state=0).fit(inputs, scores), SETTINGS, columns, positions)
    single, pair = exact(SETTINGS, scores)
    assert found is not None
    assert found[0] == pytest.approx(single, abs=1e-9) and found[1] == pytest.approx(pair, abs=1e-9)


def test_shares_of_a_searched_range_are_those_of_lengths() -> None:
    """A step at 0.8 of [0, 1] has variance 0.16, whatever the points; a second setting adds 0.25 * 0.36."""
    rng = np.random.default_rng(0)
    settings = [Setting("x", tuple(np.sort(np.r_[0, 0.79, 0.81, 1, rng.uniform(size=60)]))), Setting("y", (0, 1))]
    positions = np.array([[x, y] for x in settings[0].values for y in (0, 1)])
    scores = (positions[:, 0] > 0.8) + 0.6 * positions[:, 1]
    inputs, columns = encode(settings, positions)
    found = decompose(DecisionTreeRegressor(random_state=0).fit(inputs, scores), settings, columns, positions)
    assert columns[0] == Column(0, None) and found is not None
    assert found[0] == pytest.approx(np.array([0.16, 0.09]) / 0.25, abs=0.01)
    assert found[1][0, 1] == pytest.approx(0, abs=1e-9)


def repeated(scores: np.ndarray, seeds: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, scores with noise, and cells of a grid of `SETTINGS` with several seeds."""
    positions, cells = np.repeat(grid(SETTINGS), seeds, axis=0), np.repeat(np.arange(len(scores)), seeds)
    return positions, scores[cells] + noise * np.random.default_rng(1).normal(size=len(cells)), cells


def test_additive_effects_have_no_interaction() -> None:
    positions = grid(SETTINGS)
    scores = 2.0 * (positions[:, 0] == 1) + positions[:, 1]
    found = importance(SETTINGS, *repeated(scores, 3, 0.0), np.random.default_rng(0), trees=8)
    single, _ = exact(SETTINGS, scores)
    assert found is not None and found.single.mean(0) == pytest.approx(single, abs=1e-9)
    assert np.abs(found.pair).max() < 1e-9


def test_a_pure_interaction_is_seen_as_one() -> None:
    positions = grid(SETTINGS)
    scores = (2.0 * (positions[:, 1] > -2.5) - 1) * (2 * positions[:, 2] - 1)
    found = importance(SETTINGS, *repeated(scores, 3, 0.05), np.random.default_rng(0), trees=16)
    assert found is not None
    assert found.pair.mean(0)[1, 2] == pytest.approx(1, abs=0.02) and found.single.mean(0).max() < 0.02
    low, high = np.quantile(found.pair[:, 1, 2], [0.1, 0.9])
    assert 0.9 < low < high <= 1


def test_runs_drawn_at_random_find_what_matters_within_their_uncertainty() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(400, 2))
    settings = [Setting("x", tuple(np.sort(x[:, 0]))), Setting("y", tuple(np.sort(x[:, 1])))]
    scores = 3 * x[:, 0] + x[:, 1]  # variances 9 to 1
    found = importance(settings, x, scores, np.arange(400), rng, trees=16)
    assert found is not None and found.single.mean(0) == pytest.approx([0.9, 0.1], abs=0.05)


def test_nothing_is_estimated_from_too_little() -> None:
    rng, few = np.random.default_rng(0), Setting("x", (1, 2))
    assert importance([few], np.array([[1.0], [2.0]]), np.array([1.0, 2.0]), np.arange(2), rng) is None
    assert importance([few], np.ones((20, 1)), np.ones(20), np.zeros(20, dtype=int), rng) is None
    assert importance([], np.zeros((20, 0)), np.arange(20.0), np.zeros(20, dtype=int), rng) is None
