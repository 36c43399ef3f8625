"""Metrics of given features: an extractor that no image goes through, and a function that fills both sides."""

import torch

from saddle.metrics.base import ImageMetric
from saddle.metrics.features import FeatureExtractor, FeatureOutputs


class Given(FeatureExtractor):
    """Sizes only: the tests give the features."""

    name, classes = "given", 1
    key = fingerprint = "given"

    def __init__(self, features: int = 8):
        super().__init__()
        self.features = features

    def load(self):
        raise AssertionError("no image is extracted here")

    def extract(self, network, images):
        raise AssertionError("no image is extracted here")


def outputs(features: torch.Tensor) -> FeatureOutputs:
    return FeatureOutputs(features, torch.zeros(len(features), 1))


def fill(metric: ImageMetric, real: torch.Tensor, fake: torch.Tensor, test: torch.Tensor | None = None):
    """Update with both sides in batches of 50, and return what the metric computes."""
    for features, is_real in ((real, True), (fake, False)):
        for batch in features.split(50):
            metric.update(outputs(batch), is_real)
    if test is not None:
        metric.update(outputs(test), real=True, test=True)
    return metric.compute()


def normal(seed: int, n: int, size: int = 8) -> torch.Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))
