"""Nearest neighbours in feature space, and the scores made of them: precision and recall, density and coverage.

Distances are computed block by block, so memory does not grow with the product of the two numbers of images, and in
float64 before they are rounded to float32: ``|x|^2 + |y|^2 - 2 x.y`` in float32 would lose those of near neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from saddle.errors import InputError
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureExtractor

BLOCK = 2048  # rows and columns of a block of distances: 32 MB, and 64 MB for its features in float64
_NOTHING = 1e-13  # squared distances below this share of the squared norms are float32's rounding of equal features


def distance_blocks(x: Tensor, y: Tensor, block: int = BLOCK) -> Iterator[tuple[slice, slice, Tensor]]:
    """Squared Euclidean distances of x [n, F] and y [m, F], in blocks: rows, columns, float32 [rows, columns].

    All blocks of the same rows follow each other. Equal features have the distance zero.
    """
    origin = y[:block].mean(0, dtype=torch.float64)  # shorter vectors, less to cancel
    for i in range(0, len(x), block):
        a = x[i : i + block].double() - origin
        norms = a.square().sum(1, keepdim=True)
        for j in range(0, len(y), block):
            b = y[j : j + block].double() - origin
            sums = norms + b.square().sum(1)
            squared = torch.addmm(sums, a, b.T, alpha=-2)
            squared[squared < _NOTHING * sums] = 0
            yield slice(i, i + len(a)), slice(j, j + len(b)), squared.float()


def nearest(
    queries: Tensor, points: Tensor, k: int, exclude_self: bool = False, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """The k nearest points of every query.

    Args:
        queries: [n, F].
        points: [m, F].
        k: how many, at most m (m - 1 with `exclude_self`).
        exclude_self: queries and points are the same, and no point is its own neighbour (a copy of it is).
        block: rows and columns that are compared at a time.

    Returns:
        squared distances float32 [n, k] in ascending order, and indices int64 [n, k].
    """
    available = len(points) - exclude_self
    if not 1 <= k <= available:
        raise InputError(f"k={k} neighbours of {available} images: choose from 1 to {available}")
    distances = torch.full((len(queries), k), torch.inf, device=queries.device)
    indices = torch.zeros((len(queries), k), dtype=torch.int64, device=queries.device)
    for rows, columns, squared in distance_blocks(queries, points, block):
        if exclude_self:
            places = torch.arange(columns.start, columns.stop, device=queries.device)
            squared[torch.arange(rows.start, rows.stop, device=queries.device)[:, None] == places] = torch.inf
        found, where = squared.topk(min(k, squared.shape[1]), 1, largest=False)
        candidates = torch.cat([distances[rows], found], 1)
        names = torch.cat([indices[rows], where + columns.start], 1)
        distances[rows], best = candidates.topk(k, 1, largest=False)
        indices[rows] = names.gather(1, best)
    return distances, indices


def radii(features: Tensor, k: int, block: int = BLOCK) -> Tensor:
    """Squared distance of each of the features [n, F] to its k-th nearest other one: float32 [n]."""
    return nearest(features, features, k, exclude_self=True, block=block)[0][:, -1]


class FeaturesAndRadii(Features):
    """The features of real images, and in the cache their squared distances to the k-th neighbour, which cost more."""

    def __init__(self, k: int):
        super().__init__()
        self.name = f"features and distances to neighbour {k}"

    def empty(self) -> dict[str, Tensor | list[Tensor]]:
        return {**super().empty(), "radii": []}


class NeighbourMetric(ImageMetric):
    """What precision and recall and density and coverage share: k, and the radii of the real images in the cache.

    Args:
        k: a ball around an image reaches to its k-th nearest neighbour; at least 1.
    """

    _real_radii: Tensor | None = None  # of all real images seen, until there are more

    def __init__(self, extractor: FeatureExtractor, k: int, **kwargs: Any):
        super().__init__(extractor, FeaturesAndRadii(k), Features(), **kwargs)
        if k < 1:
            raise InputError(f"k={k}: a ball reaches to the k-th neighbour; choose at least 1")
        self.k = k

    def reset(self) -> None:
        super().reset()
        self._real_radii = None

    def cached_states(self, side: str) -> dict[str, Tensor]:
        """The features of the real images in the order of the set, and their squared radii."""
        features = self.gathered("real", least=self.k + 1)
        rows = dim_zero_cat(self.states("real")["rows"]).sort().values
        return {"real_features": features, "real_rows": rows, "real_radii": self.radii_of_reals(features)}

    def radii_of_reals(self, features: Tensor) -> Tensor:
        """Squared radii of the real images in the order of the set: those of the cache, else computed, once."""
        if len(self.states("real")["radii"]):
            return self.gathered("real", "radii")
        if self._real_radii is None or len(self._real_radii) != len(features):
            self._real_radii = radii(features, self.k)
        return self._real_radii

    def sets(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the real images and of the fakes, and the squared radii of the real ones; more than k of each."""
        real, fake = (self.gathered(side, least=self.k + 1) for side in self.sides)
        return real, fake, self.radii_of_reals(real)


class PrecisionRecall(NeighbourMetric):
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991, equations 1 and 2).

    Precision is the share of fakes inside the ball of at least one real image, recall the share of real images inside
    the ball of at least one fake; a ball includes its boundary, and its radius leaves the image itself out.

    Known values: both 1 for identical sets. FFHQ, StyleGAN without truncation: precision .720, recall .393 (VGG-16).
    A single outlier has a huge ball and can raise either one: see `DensityCoverage`.
    """

    def __init__(self, extractor: FeatureExtractor, k: int = 3, **kwargs: Any):
        super().__init__(extractor, k, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """``precision`` and ``recall``, each from 0 to 1; InputError with no more than k images on a side."""
        real, fake, real_radii = self.sets()
        fake_radii = radii(fake, self.k)
        precise = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
        recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
        for rows, columns, squared in distance_blocks(fake, real):
            precise[rows] |= (squared <= real_radii[columns]).any(1)
            recalled[columns] |= (squared <= fake_radii[rows, None]).any(0)
        return {"precision": precise.double().mean(), "recall": recalled.double().mean()}


class DensityCoverage(NeighbourMetric):
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797, equations 3 and 5).

    Density is the mean number of real balls around a fake, divided by k: it may exceed 1. Coverage is the share of real
    images with a fake in their ball. Only real images have balls, and the boundary is outside, as in the authors' code.

    Known values where both sides have the same distribution: E density = 1, and with as many fakes as real images
    E coverage = 1 - 2^-k (.969 for k = 5) in the limit of many.
    """

    def __init__(self, extractor: FeatureExtractor, k: int = 5, **kwargs: Any):
        super().__init__(extractor, k, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """``density``, at least 0, and ``coverage`` from 0 to 1; InputError with no more than k images on a side."""
        real, fake, real_radii = self.sets()
        inside = torch.zeros((), dtype=torch.float64, device=fake.device)
        covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
        for _, columns, squared in distance_blocks(fake, real):
            within = squared < real_radii[columns]
            inside += within.sum()
            covered[columns] |= within.any(0)
        return {"density": inside / (self.k * len(fake)), "coverage": covered.double().mean()}
