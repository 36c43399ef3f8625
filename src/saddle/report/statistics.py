"""Statistics of repeated runs, with the rule of when a claim is made. Free of torch.

The rule: with fewer than three seeds of a combination of settings there is no interval for it and no claim about it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

SEEDS = 3  # of a combination, from which there are intervals and claims
LEVEL = 0.05  # of an error in any claim of a family
SHARING = 8  # combinations, from which each one's variance between seeds says something of the others'
POOLED = 1e6  # degrees of freedom of a common variance, from which it is the only one
LOGARITHMIC = 5.0  # worst over best score from which scores are compared by their ratios

Floats = NDArray[np.float64]


def use_logarithm(scores: Floats) -> bool:
    """Whether scores span so much that ratios compare them better than differences."""
    finite = scores[np.isfinite(scores)]
    return len(finite) > 0 and bool(finite.min() > 0 and finite.max() / finite.min() >= LOGARITHMIC)


# ---------------------------------------------------------------------------------------------------- best by budget


def expected_minimum(scores: Floats, budgets: Sequence[int]) -> Floats:
    """The expected minimum of k of n runs drawn without replacement, in closed form.

    The i-th smallest of n scores (i from 1) is the minimum of C(n - i, k - 1) of the C(n, k) subsets. Unlike the form
    with replacement of Dodge et al. 2019 ("Show Your Work", equation 4) it is unbiased (Tang et al. 2020). Lucic et al.
    2018 ("Are GANs Created Equal?", section 4) estimate the same curve by resampling.

    Args:
        scores: [n] or [n, repetitions] finite scores; less is better.
        budgets: of 1 to n runs each.

    Returns:
        [budgets] or [budgets, repetitions].
    """
    n, k, i = len(scores), np.asarray(budgets, dtype=float)[:, None], np.arange(1, len(scores))
    ratios = np.maximum(n - i - k + 1, 0) / (n - i)  # of the number of subsets of the next score to that of this one
    weights = np.cumprod(np.hstack([k / n, ratios]), axis=1)
    return weights @ np.sort(scores, axis=0)


def budget_interval(scores: Floats, budgets: Sequence[int], rng: np.random.Generator, resamples: int) -> Floats:
    """The 95% percentile bootstrap interval of `expected_minimum` over runs: [2, budgets]."""
    n = len(scores)
    drawn = scores[rng.integers(n, size=(n, min(resamples, max(100, 2_000_000 // n))))]
    return np.quantile(expected_minimum(drawn, budgets), [0.025, 0.975], axis=1)


# ------------------------------------------------------------------------------------------------ means and intervals


def mean_interval(groups: Sequence[Floats], rng: np.random.Generator, resamples: int) -> tuple[float, float] | None:
    """The 95% interval of the mean over combinations of their mean score; None where the rule forbids one.

    Where at least half of the combinations have three seeds: Student's interval with the variance between seeds pooled
    over all of them, as in an analysis of variance; what is left open is the seed, not which combinations were tried.
    Of a search at random, with a single run of most combinations, these are resampled instead (percentile bootstrap).

    Args:
        groups: the scores of each combination, [seeds] each.
        rng: where the resamples come from.
        resamples: number of them.
    """
    centres, sizes = np.array([group.mean() for group in groups]), np.array([len(group) for group in groups])
    if len(groups) and np.mean(sizes >= SEEDS) >= 0.5:
        half = stats.t.ppf(0.975, sizes.sum() - len(groups)) * np.sqrt(within(groups) * (1 / sizes).sum()) / len(groups)
        return float(centres.mean() - half), float(centres.mean() + half)
    if len(groups) >= SEEDS and np.mean(sizes == 1) > 0.5:
        drawn = centres[rng.integers(len(groups), size=(resamples, len(groups)))].mean(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        return float(low), float(high)
    return None


def within(groups: Sequence[Floats]) -> float:
    """The variance between seeds, pooled over combinations."""
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return squares / sum(len(group) - 1 for group in groups)


def t_interval(scores: Floats) -> tuple[float, float] | None:
    """Student's 95% interval of the mean of one combination over its seeds; None below three seeds."""
    if len(scores) < SEEDS:
        return None
    half = stats.t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores))
    return float(scores.mean() - half), float(scores.mean() + half)


def share_interval(count: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    low, high = stats.binomtest(count, n).proportion_ci(0.95, method="wilson")
    return float(low), float(high)


def explained(groups: Sequence[Floats]) -> float | None:
    """The share of the variance of single runs that the settings explain, the rest being the seed's.

    Adjusted for the number of combinations: 1 - (mean square within) / (variance of all). None without repeats.
    """
    values = np.concatenate([*groups, np.zeros(0)])
    if not 2 <= len(groups) < len(values) or values.var() == 0:
        return None
    return max(0.0, 1 - within(groups) / float(values.var(ddof=1)))


# --------------------------------------------------------------------------------------------------------- comparisons


def compare_all(groups: Sequence[Floats]) -> Floats:
    """Welch's t test of every two combinations, two-sided, corrected by Holm for all of them together.

    Three seeds know their own variance so badly that hardly a difference would be beyond chance for a family of
    hundreds of pairs. So from eight combinations on, they help each other: the variance of each is that of `moderated`
    or its own, the larger one, and a pair has the degrees of freedom of the one that has fewer. Of 2,000 families of 8
    or 28 combinations of three or five seeds, at most 4.2% had a false claim: true variances were equal, one 25 or 100
    times as large, half of them 25 times, or drawn from the distribution of `moderated`. All pairs are one family, so
    what it says of the one that came out best holds although it was picked for that.

    Args:
        groups: the scores of each combination, at least three seeds each.

    Returns:
        [combinations, combinations] corrected p values; 1 on the diagonal.
    """
    sizes, means = np.array([len(g) for g in groups]), np.array([g.mean() for g in groups])
    own, freedom = np.array([g.var(ddof=1) for g in groups]), sizes - 1.0
    first, second = np.triu_indices(len(groups), 1)
    together = len(groups) >= SHARING and bool(own.any())
    shared, more = moderated(own, freedom) if together else (own, freedom)
    error = np.maximum(own, shared) / sizes  # squared, of each mean
    with np.errstate(divide="ignore", invalid="ignore"):
        both = error[first] + error[second]
        degrees = both**2 / (error[first] ** 2 / freedom[first] + error[second] ** 2 / freedom[second])
        if together:
            degrees = np.minimum(more[first], more[second])
        pvalue = 2 * stats.t.sf(np.abs(means[first] - means[second]) / np.sqrt(both), degrees)
    raw = np.where(np.isnan(pvalue), np.where(means[first] == means[second], 1.0, 0.0), pvalue)
    corrected = np.ones((len(groups), len(groups)))
    corrected[first, second] = corrected[second, first] = holm(raw)
    return corrected


def moderated(variances: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Variances of several combinations, each drawn towards a common one, and their degrees of freedom then.

    The true variances are taken for draws from a scaled inverse chi-squared distribution, whose mean and degrees of
    freedom are fitted to the spread of the estimates (Smyth 2004, "Linear models and empirical Bayes methods for
    assessing differential expression in microarray experiments", section 6.2). Estimates that are as alike as one true
    variance would make them are pooled, those that differ more stay apart.

    Args:
        variances: of each combination's scores over its seeds, not all 0.
        freedom: their degrees of freedom.
    """
    floor = 1e-5 * np.median(variances[variances > 0])  # seeds that agree to the last digit have no logarithm
    logs = np.log(np.maximum(variances, floor)) - special.digamma(freedom / 2) + np.log(freedom / 2)
    spread = logs.var(ddof=1) - special.polygamma(1, freedom / 2).mean()
    if spread <= special.polygamma(1, POOLED / 2):
        return np.full_like(variances, np.exp(logs.mean())), np.full_like(freedom, freedom.sum())
    root = optimize.brentq(lambda x: np.log(special.polygamma(1, np.exp(x)) / spread), -20, np.log(POOLED / 2))
    prior = 2 * float(np.exp(root))  # degrees of freedom of the common variance
    common = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    drawn = (prior * common + freedom * variances) / (prior + freedom)
    return drawn, np.minimum(freedom + prior, freedom.sum())


def holm(p: Floats) -> Floats:
    """P values corrected by Holm's step-down method, which bounds the chance of any false claim."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty_like(p)
    result[order] = np.minimum(stepped, 1.0)
    return result
