"""Precision-recall curves of distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from saddle.errors import InputError
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureExtractor
from saddle.randomness import generator

_SMALL = 1e-10  # keeps the slopes off 0 and infinity


def prd_curve(fake: np.ndarray, real: np.ndarray, angles: int = 1001) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of two discrete distributions (Sajjadi et al. 2018, arXiv:1806.00035, equation 4).

    ``alpha(l) = sum_i min(l r_i, f_i)`` and ``beta(l) = alpha(l) / l`` for slopes l = tan of equidistant angles.

    Args:
        fake, real: shares of the same bins [K], each with the sum 1.
        angles: number of points on the curve.

    Returns:
        precision and recall, float64 [angles] each, from 0 to 1; precision ascends and recall descends.
    """
    slopes = np.tan(np.linspace(_SMALL, np.pi / 2 - _SMALL, angles))
    precision = np.minimum(slopes[:, None] * real, fake).sum(1)
    return precision.clip(0, 1), (precision / slopes).clip(0, 1)


def f_beta(precision: np.ndarray, recall: np.ndarray, beta: float) -> float:
    """The largest ``(1 + b^2) p r / (b^2 p + r)`` on the curve; 0 where both are 0 everywhere.

    With a large b recall decides, with a small one precision.
    """
    return float(((1 + beta**2) * precision * recall / (beta**2 * precision + recall + _SMALL)).max())


class PrecisionRecallCurve(ImageMetric):
    """The PRD curve: precision against recall, of histograms over the clusters of all features together.

    As in the authors' code: k-means of as many fake as real features, the curve averaged over several k-means runs,
    and from it F_8 (mainly recall) and F_1/8 (mainly precision). Where the sides differ in number, a random part of
    the larger one is used.

    Known values: identical sets have F_8 = F_1/8 = 1; sets without a common cluster 0.

    Args:
        clusters: at least 2.
        angles: points on the curve, at least 3.
        runs: of k-means, at least 1.
        seed: of k-means and of the part of the larger side.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        clusters: int = 20,
        angles: int = 1001,
        runs: int = 10,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(extractor, Features(), **kwargs)
        if clusters < 2 or angles < 3 or runs < 1:
            raise InputError(
                f"prd: clusters={clusters}, angles={angles}, runs={runs}; choose at least 2 clusters, 3 angles, 1 run"
            )
        self.clusters, self.angles, self.runs, self.seed = clusters, angles, runs, seed

    def compute(self) -> dict[str, Tensor]:
        """``_f8`` and ``_f1_8``, scalars from 0 to 1, and the curve: ``_precision`` and ``_recall`` [angles].

        InputError with fewer images on a side than clusters.
        """
        real, fake = (self.gathered(side, least=self.clusters) for side in ("real", "fake"))
        n = min(len(real), len(fake))
        both = np.concatenate([self._part(side, x, n) for side, x in (("real", real), ("fake", fake))])
        curves = [prd_curve(*self._histograms(both, n, run), self.angles) for run in range(self.runs)]
        precision, recall = np.mean(curves, axis=0)
        return {
            "_f8": torch.tensor(f_beta(precision, recall, 8.0), dtype=torch.float64),
            "_f1_8": torch.tensor(f_beta(precision, recall, 1 / 8), dtype=torch.float64),
            "_precision": torch.from_numpy(precision),
            "_recall": torch.from_numpy(recall),
        }

    def _part(self, side: str, features: Tensor, n: int) -> np.ndarray:
        if len(features) > n:
            chosen = torch.randperm(len(features), generator=generator(self.seed, "prd", side))[:n].sort().values
            features = features[chosen.to(features.device)]
        return features.cpu().numpy()

    def _histograms(self, both: np.ndarray, n: int, run: int) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the fakes and of the real images, the first n, in the clusters of all: float64 [clusters] each."""
        state = int(torch.randint(2**31, (), generator=generator(self.seed, "prd", run)))
        found = MiniBatchKMeans(self.clusters, n_init=10, random_state=state).fit(both).labels_
        real, fake = (np.bincount(x, minlength=self.clusters) / n for x in (found[:n], found[n:]))
        return fake, real
