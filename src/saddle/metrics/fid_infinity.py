"""The Frechet distance extrapolated to infinitely many samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import linregress
from torch import Tensor

from saddle.errors import InputError
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureExtractor
from saddle.metrics.frechet import Moments, frechet_distance, moments, moments_of_sums
from saddle.randomness import generator


class FrechetInfinity(ImageMetric):
    """FID-infinity (Chong & Forsyth 2020, arXiv:1911.07023, section 3) where the extractor is Inception.

    The bias of the Frechet distance is linear in 1/N to first order. It is computed for random parts of the fakes, of
    sizes evenly spaced from `smallest` to all of them, and a line through the values against 1/N is read at 1/N = 0.
    The real side is the whole set each time, so its own bias remains, as in the paper.

    Known values: below the Frechet distance of all fakes; between samples of one distribution near that of the real
    set's bias alone, and slightly negative values are possible.

    Args:
        points: number of sizes, at least 2.
        smallest: number of fakes in the smallest part, at least 2 and fewer than there are.
        seed: of the parts.
    """

    def __init__(
        self, extractor: FeatureExtractor, points: int = 15, smallest: int = 5000, seed: int = 0, **kwargs: Any
    ):
        super().__init__(extractor, Moments(extractor.features), Features(), **kwargs)
        if points < 2 or smallest < 2:
            raise InputError(f"fid_infinity: points={points}, smallest={smallest}; choose at least 2 of each")
        self.points, self.smallest, self.seed = points, smallest, seed

    def compute(self) -> dict[str, Tensor]:
        """The value at 1/N = 0, and ``_slope``, its increase with 1/N; float64 scalars.

        InputError with no more fakes than the smallest part.
        """
        real = self.states("real")
        moments_of_reals = moments_of_sums(real, "real")
        fake = self.gathered("fake")
        if len(fake) <= self.smallest:
            raise InputError(
                f"fid_infinity: {len(fake)} fake images, of which the smallest part has smallest={self.smallest}: "
                "score more images, or lower it"
            )
        sizes = torch.linspace(self.smallest, len(fake), self.points, dtype=torch.float64).int().tolist()
        values = []
        for size in sizes:
            chosen = torch.randperm(len(fake), generator=generator(self.seed, "fid_infinity", size))[:size]
            part = moments(fake[chosen.to(fake.device)])
            values.append(float(frechet_distance(*moments_of_reals, *part, ranks=(int(real["n"]) - 1, size - 1))))
        line = linregress(1 / np.array(sizes), values)
        return {
            name: torch.tensor(x, dtype=torch.float64) for name, x in (("", line.intercept), ("_slope", line.slope))
        }
