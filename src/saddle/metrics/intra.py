"""The Frechet distance within classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saddle.errors import InputError
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureExtractor
from saddle.metrics.frechet import frechet_of_features


class IntraFrechet(ImageMetric):
    """The mean over the classes of the Frechet distance of a class's fakes to its real images.

    Intra-class FID (Miyato & Koyama 2018, arXiv:1802.05637, section 5) where the extractor is Inception: low only where
    each class is right by itself, while FID does not notice classes that are swapped or collapse onto each other. A
    fake's class is the one that it was asked to be. Published values use 5,000 fakes a class (from memory); few images
    bias it upwards, more than FID.

    Known values: 0 for identical sets.
    """

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        super().__init__(extractor, Features(labelled=True), **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """The mean, and ``_classes``: the value of every class of the real images in the order of their labels.

        InputError where a class has fewer than two images on a side.
        """
        features = {side: self.gathered(side) for side in self.sides}
        labels = {side: self.gathered(side, "labels") for side in self.sides}
        values = []
        for label in labels["real"].unique().tolist():
            parts = {side: x[labels[side] == label] for side, x in features.items()}
            for side, part in parts.items():
                if len(part) < 2:
                    raise InputError(
                        f"intra_fid: class {label} has {len(part)} {side} images and needs at least 2: "
                        "score more images"
                    )
            values.append(frechet_of_features(**parts))
        found = torch.stack(values)
        return {"": found.mean(), "_classes": found}
