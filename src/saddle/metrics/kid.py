"""The kernel distance between the feature distributions of real and fake images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from saddle.errors import InputError
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureExtractor
from saddle.randomness import generator


class KernelDistance(ImageMetric):
    """The kernel distance over random subsets, mean and standard deviation: KID where the extractor is Inception.

    Of each subset the unbiased estimate of the squared maximum mean discrepancy with the kernel ``(x.y / F + 1)^3``
    (Binkowski et al. 2018, arXiv:1801.01401, section 4), in float64. The subsets are a function of the seed and of the
    numbers of images alone. Known values: expectation 0 where both sides have the same distribution, with any number of
    images, so also below 0.

    Args:
        subsets: number of subsets, at least 1.
        subset_size: images in each, of each side, at least 2.
        seed: of the subsets.
    """

    def __init__(
        self, extractor: FeatureExtractor, subsets: int = 100, subset_size: int = 1000, seed: int = 0, **kwargs: Any
    ):
        super().__init__(extractor, Features(), **kwargs)
        if subsets < 1 or subset_size < 2:
            raise InputError(f"kid: subsets={subsets} of subset_size={subset_size}; choose at least 1 of at least 2")
        self.subsets, self.subset_size, self.seed = subsets, subset_size, seed

    def subset(self, number: int, side: str, total: int) -> Tensor:
        """Which of `total` images subset `number` holds: int64 [subset_size], no image twice."""
        return torch.randperm(total, generator=generator(self.seed, "kid", side, number))[: self.subset_size]

    def compute(self) -> dict[str, Tensor]:
        """Mean and ``_std`` over the subsets; InputError if a side has fewer images than a subset."""
        sides = {side: self.gathered(side) for side in self.sides}
        for side, features in sides.items():
            if len(features) < self.subset_size:
                raise InputError(
                    f"kid: {len(features)} {side} images are fewer than subset_size={self.subset_size}: "
                    "score more images, or lower it"
                )
        values = []
        for number in range(self.subsets):
            real, fake = (x[self.subset(number, side, len(x)).to(x.device)].double() for side, x in sides.items())
            values.append(poly_mmd(real, fake))
        found = torch.stack(values)
        return {"": found.mean(), "_std": found.std(correction=0)}
