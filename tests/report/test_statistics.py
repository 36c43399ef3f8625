"""Closed forms against enumeration, intervals against their coverage, corrections against published values."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from saddle.report import statistics


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_the_expected_minimum_is_the_mean_over_all_subsets(scores: list[float]) -> None:
    budgets = range(1, len(scores) + 1)
    found = statistics.expected_minimum(np.array(scores), budgets)
    for k, value in zip(budgets, found, strict=True):
        subsets = [min(subset) for subset in itertools.combinations(scores, k)]
        assert value == pytest.approx(np.mean(subsets), abs=1e-9)


def test_the_expected_minimum_of_thousands_is_exact_at_its_ends() -> None:
    scores = np.random.default_rng(0).normal(size=3000)
    found = statistics.expected_minimum(scores, [1, 10, 3000])
    assert found[0] == pytest.approx(scores.mean()) and found[2] == pytest.approx(scores.min())
    draws = [np.random.default_rng(n).choice(scores, 10, replace=False).min() for n in range(4000)]
    assert found[1] == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / np.sqrt(4000))


def test_the_interval_of_a_budget_covers_its_curve() -> None:
    rng, scores = np.random.default_rng(0), np.random.default_rng(1).normal(size=40)
    low, high = statistics.budget_interval(scores, [1, 5], rng, 500)
    curve = statistics.expected_minimum(scores, [1, 5])
    assert np.all(low < curve) and np.all(curve < high)
    assert (high - low)[0] == pytest.approx(2 * 1.96 * scores.std() / np.sqrt(40), rel=0.2)


def test_no_interval_below_three_seeds() -> None:
    rng = np.random.default_rng(0)
    assert statistics.t_interval(np.array([1.0, 2.0])) is None
    assert statistics.mean_interval([np.array([1.0, 2.0]), np.array([3.0, 4.0])], rng, 100) is None
    assert statistics.mean_interval([np.array([1.0]), np.array([3.0])], rng, 100) is None
    assert statistics.mean_interval([], rng, 100) is None


def test_the_interval_of_one_combination_is_students() -> None:
    scores = np.array([1.0, 2.0, 4.0, 4.5])
    expected = stats.t.interval(0.95, 3, scores.mean(), stats.sem(scores))
    assert statistics.t_interval(scores) == pytest.approx(expected)
    assert statistics.mean_interval([scores], np.random.default_rng(0), 100) == pytest.approx(expected)


def test_the_interval_over_combinations_covers_the_mean_of_their_means() -> None:
    rng, centres, hits = np.random.default_rng(0), np.array([0.0, 10.0, 50.0]), 0
    for _ in range(400):
        low, high = statistics.mean_interval([c + rng.normal(size=3) for c in centres], rng, 100)  # type: ignore[misc]
        hits += low < centres.mean() < high
    assert 0.92 < hits / 400 < 0.98


def test_the_explained_share_of_known_variances() -> None:
    rng = np.random.default_rng(0)
    groups = [centre + rng.normal(size=5) for centre in 3 * rng.normal(size=400)]
    assert statistics.explained(groups) == pytest.approx(9 / 10, abs=0.02)
    assert statistics.explained([rng.normal(size=5) for _ in range(400)]) == pytest.approx(0, abs=0.03)
    assert statistics.explained([np.array([1.0]), np.array([2.0])]) is None


def test_holms_correction_of_holms_own_kind_of_example() -> None:
    found = statistics.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_comparisons_agree_with_scipy_and_keep_quiet_without_effects() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=4), rng.normal(size=3) + 1, rng.normal(size=5) * 3]
    found = statistics.compare_all(groups)
    raw = [stats.ttest_ind(groups[i], groups[j], equal_var=False).pvalue for i, j in ((0, 1), (0, 2), (1, 2))]
    assert [found[0, 1], found[0, 2], found[1, 2]] == pytest.approx(statistics.holm(np.array(raw)))
    false = sum((statistics.compare_all([rng.normal(size=3) for _ in range(6)]) < 0.05).any() for _ in range(200))
    assert false / 200 < 0.09


@pytest.mark.parametrize(
    "deviations",
    [lambda rng: np.ones(20), lambda rng: np.sqrt(4 / rng.chisquare(4, 20)), lambda rng: np.array([1] * 19 + [10])],
    ids=["alike", "of a distribution", "one wild"],
)
def test_combinations_that_help_each_other_make_no_false_claims(deviations) -> None:  # type: ignore[no-untyped-def]
    """At most 5% of families; 200 of them end below 9% with a probability of 0.995."""
    rng = np.random.default_rng(0)
    families = [[rng.normal(size=3) * sd for sd in deviations(rng)] for _ in range(200)]
    assert sum((statistics.compare_all(groups) < 0.05).any() for groups in families) / 200 < 0.09


def test_three_seeds_of_many_combinations_tell_large_differences_apart() -> None:
    rng = np.random.default_rng(1)
    groups = [centre + 0.02 * rng.normal(size=3) for centre in np.linspace(0, 1, 20)]
    found = statistics.compare_all(groups) < 0.05
    assert found[0, 6:].all() and found[:-6, -1].all()  # differences of 0.3 and more, fifteen deviations
    alone = [stats.ttest_ind(groups[0], g, equal_var=False).pvalue for g in groups[1:]]
    assert (statistics.holm(np.array(alone + [1.0] * 171)) > 0.05).sum() > 5  # what Welch's test alone makes of them


def test_shared_variances_are_those_of_the_distribution_they_were_drawn_from() -> None:
    """Of a scaled inverse chi-squared prior the posterior is known: its precision has the mean 1 / drawn."""
    rng, prior, common, freedom = np.random.default_rng(2), 6.0, 0.3, np.full(4000, 2.0)
    true = prior * common / rng.chisquare(prior, 4000)
    seen = true * rng.chisquare(2, 4000) / 2
    drawn, more = statistics.moderated(seen, freedom)
    assert more[0] == pytest.approx(prior + 2, rel=0.1)
    assert drawn == pytest.approx((prior * common + 2 * seen) / (prior + 2), rel=0.1)
    alike, all_of_them = statistics.moderated(np.full(50, 0.5), np.full(50, 20.0))
    assert alike == pytest.approx(np.full(50, 0.5), rel=0.06) and all_of_them[0] == 1000
    unequal = statistics.moderated(np.array([0.1, 0.2, 0.4, 0.1]), np.array([2.0, 3.0, 2.0, 4.0]))
    assert len(unequal[0]) == 4 and (unequal[1] <= 11).all()


def test_wilsons_interval_of_a_textbook_case() -> None:
    assert statistics.share_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert statistics.share_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_ratios_are_compared_only_where_scores_span_much() -> None:
    assert statistics.use_logarithm(np.array([20.0, 200.0, np.nan]))
    assert not statistics.use_logarithm(np.array([20.0, 30.0]))
    assert not statistics.use_logarithm(np.array([-1.0, 100.0]))
