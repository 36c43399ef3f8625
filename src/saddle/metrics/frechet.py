"""The Frechet distance between the feature distributions of real and fake images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saddle.metrics.base import ImageMetric, require_images
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.randomness import Rows


def frechet_distance(
    mean_real: Tensor, cov_real: Tensor, mean_fake: Tensor, cov_fake: Tensor, rank: int | None = None
) -> Tensor:
    """The squared Wasserstein-2 distance of two Gaussians, as FID uses it (Heusel et al. 2017, equation 6).

    ``|mu_r - mu_g|^2 + Tr(S_r) + Tr(S_g) - 2 sum sqrt(eig(S_r^1/2 S_g S_r^1/2))``. The product under the root is
    symmetric and positive semi-definite, so its eigenvalues come from a symmetric eigenproblem: they are real, and
    those that rounding made negative are zero. With ``S_r = A A^T`` the matrix ``A^T S_g A`` has the same ones.

    Args:
        mean_real, mean_fake: [F].
        cov_real, cov_fake: [F, F], symmetric positive semi-definite.
        rank: what the rank of both covariances cannot exceed (the smaller number of samples less one); eigenvalues
            beyond it are rounding and are left out.

    Returns:
        float64 scalar, at least 0.
    """
    mean_real, cov_real, mean_fake, cov_fake = (x.double() for x in (mean_real, cov_real, mean_fake, cov_fake))
    k = min(len(mean_real), rank if rank is not None else len(mean_real))
    values, vectors = torch.linalg.eigh(cov_real)
    factor = vectors * values.clamp(min=0).sqrt()
    inner = factor.T @ cov_fake @ factor
    overlap = torch.linalg.eigvalsh((inner + inner.T) / 2)[-k:].clamp(min=0).sqrt().sum()
    distance = (mean_real - mean_fake).square().sum() + cov_real.trace() + cov_fake.trace() - 2 * overlap
    return distance.clamp(min=0)


class FrechetDistance(ImageMetric):
    """The Frechet distance on the features of an extractor: FID where that is Inception.

    States are sums (count, sum, outer products) in float64, so processes only add them up. Correct with fewer images
    than features; at least two on each side.

    Args:
        extractor: gives the features.
        kwargs: of torchmetrics.Metric.
    """

    higher_is_better = False

    real_n: Tensor
    real_sum: Tensor
    real_outer: Tensor
    fake_n: Tensor
    fake_sum: Tensor
    fake_outer: Tensor

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        super().__init__(extractor, **kwargs)
        size = extractor.features
        for side in ("real", "fake"):
            self.add_state(f"{side}_n", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"{side}_sum", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"{side}_outer", torch.zeros(size, size, dtype=torch.float64), dist_reduce_fx="sum")

    def accumulate(self, outputs: FeatureOutputs, real: bool, labels: Tensor | None, rows: Rows | None) -> None:
        """Add counts, sums and outer products of the features."""
        features = outputs.features.double()
        if real:
            self.real_n += len(features)
            self.real_sum += features.sum(0)
            self.real_outer += features.T @ features
        else:
            self.fake_n += len(features)
            self.fake_sum += features.sum(0)
            self.fake_outer += features.T @ features

    def compute(self) -> Tensor:
        """The distance, float64 scalar; InputError with fewer than two images on a side."""
        require_images(self.real_n, "real")
        require_images(self.fake_n, "fake")
        rank = int(min(self.real_n, self.fake_n)) - 1
        real = _moments(self.real_n, self.real_sum, self.real_outer)
        fake = _moments(self.fake_n, self.fake_sum, self.fake_outer)
        return frechet_distance(*real, *fake, rank=rank)


def _moments(n: Tensor, total: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
    mean = total / n
    return mean, (outer - n * torch.outer(mean, mean)) / (n - 1)
