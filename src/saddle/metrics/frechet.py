"""The Frechet distance between the feature distributions of real and fake images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh, lapack
from torch import Tensor

from saddle.metrics.base import ImageMetric, Statistic, require_images
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.randomness import Rows


def frechet_distance(
    mean_real: Tensor,
    cov_real: Tensor,
    mean_fake: Tensor,
    cov_fake: Tensor,
    ranks: tuple[int, int] | None = None,
) -> Tensor:
    """The squared Wasserstein-2 distance of two Gaussians, as FID uses it (Heusel et al. 2017, equation 6).

    ``|mu_r - mu_g|^2 + Tr(S_r) + Tr(S_g) - 2 Tr((S_r S_g)^1/2)``. With ``S_r = A A^T`` (a pivoted Cholesky
    factorisation, `factor`) the symmetric positive semi-definite ``A^T S_g A`` has the same eigenvalues as the product
    but for zeros, so they are real, and those that rounding made negative are zero. The one of smaller rank r is
    factorised; the eigenproblem is then r x r.

    Computed on the CPU in float64 with LAPACK.

    Args:
        mean_real, mean_fake: [F].
        cov_real, cov_fake: [F, F], symmetric positive semi-definite.
        ranks: what the ranks of the two covariances cannot exceed (the numbers of samples less one); what a covariance
            has beyond it is rounding and is left out.

    Returns:
        float64 scalar on the CPU, at least 0.
    """
    means = [x.detach().cpu().double() for x in (mean_real, mean_fake)]
    covariances = [x.detach().cpu().double().numpy() for x in (cov_real, cov_fake)]
    size = len(means[0])
    limits = [min(size, rank) for rank in (ranks or (size, size))]
    if limits[1] < limits[0]:
        covariances.reverse()
    overlap = covariance_overlap(covariances[0], covariances[1], min(limits))
    traces = sum(float(np.trace(x)) for x in covariances)
    return ((means[0] - means[1]).square().sum() + traces - 2 * overlap).clamp(min=0)


def covariance_overlap(first: np.ndarray, second: np.ndarray, rank: int) -> float:
    """``Tr((first second)^1/2)`` of float64 [F, F] covariances, the first of which has at most the given rank."""
    inner = product_of_definite(first, second) if rank >= len(first) else None
    if inner is None:
        factored, order = factor(first, rank)
        inner = factored.T @ second[np.ix_(order, order)] @ factored
    if not inner.size:
        return 0.0
    values = eigh(inner, lower=True, eigvals_only=True, driver="ev", overwrite_a=True, check_finite=False)
    return float(np.sqrt(values.clip(min=0)).sum())


def product_of_definite(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """``A^T second A`` with ``first = A A^T``, its lower triangle alone; None where `first` is singular to rounding.

    A plain Cholesky factorisation takes half the time of the pivoted one, and the product with its triangle half that
    of two products of matrices.
    """
    factored, failed = lapack.dpotrf(first.T, lower=1)
    pivots = factored.diagonal() ** 2
    if failed or pivots.min() <= len(first) * np.finfo(float).eps * pivots.max():
        return None
    return np.asarray(lapack.dsygst(second.T, factored, itype=2, lower=1)[0])


def factor(covariance: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """A pivoted Cholesky factorisation: A float64 [F, r] and an order with ``covariance[order][:, order] = A A^T``.

    r is at most `rank`, and less where the rest is zero to rounding (a feature that is always zero, one that is the
    copy of another): what is left then has no diagonal element above F times the machine's epsilon times the largest.
    """
    packed, pivots, found, _ = lapack.dpstrf(np.asfortranarray(covariance), lower=1)
    return np.tril(packed)[:, : min(rank, found)], pivots - 1


class Moments(Statistic):
    """Count, sum and sum of outer products of the features, in float64, so that processes only add them up.

    Args:
        features: F, the length of a feature vector.
    """

    name = "FrechetDistance"

    def __init__(self, features: int):
        self.features = features

    def empty(self) -> dict[str, Tensor | list[Tensor]]:
        sizes: dict[str, tuple[int, ...]] = {"n": (), "sum": (self.features,), "outer": (self.features, self.features)}
        return {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}

    def add(self, states: dict[str, Any], outputs: FeatureOutputs, labels: Tensor | None, rows: Rows | None) -> None:
        features = outputs.features.double()
        states["n"] += len(features)
        states["sum"] += features.sum(0)
        states["outer"] += features.T @ features


def moments_of_sums(states: Mapping[str, Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Mean [F] and covariance [F, F] from the states of `Moments`; InputError with fewer than two images."""
    n, total, outer = states["n"], states["sum"], states["outer"]
    require_images(n, side)
    mean = total / n
    return mean, (outer - n * torch.outer(mean, mean)) / (n - 1)


class FrechetDistance(ImageMetric):
    """The Frechet distance on the features of an extractor: FID where that is Inception.

    Correct with fewer images than features; at least two on each side.

    Known values: 0 for identical sets (to rounding), ``(m1 - m2)^2 + (s1 - s2)^2`` in one dimension. It is biased
    upwards with few images: compare values of equal numbers, or see `FrechetInfinity`.
    """

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        super().__init__(extractor, Moments(extractor.features), **kwargs)

    def compute(self) -> Tensor:
        """The distance, float64 scalar; InputError with fewer than two images on a side."""
        real, fake = self.states("real"), self.states("fake")
        ranks = (int(real["n"]) - 1, int(fake["n"]) - 1)
        return frechet_distance(*moments_of_sums(real, "real"), *moments_of_sums(fake, "fake"), ranks=ranks)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [F] and covariance [F, F], float64, of features [n, F]."""
    mean = features.mean(0, dtype=torch.float64)
    centred = features.double() - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_of_features(real: Tensor, fake: Tensor) -> Tensor:
    """`frechet_distance` of features [n, F] and [m, F], float64 scalar."""
    return frechet_distance(*moments(real), *moments(fake), ranks=(len(real) - 1, len(fake) - 1))
