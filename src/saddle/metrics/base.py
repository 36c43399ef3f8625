"""What a metric of generated images is.

An `ImageMetric` is a torchmetrics Metric whose `update(images, real=...)` extracts features itself, so it works alone
anywhere; the evaluator extracts them once for all metrics of the same extractor and calls `update_features`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from saddle.errors import InputError
from saddle.metrics.features import FeatureExtractor, FeatureOutputs, check_images
from saddle.randomness import Rows

REAL = "real_"  # states of the real side have this prefix: they can be cached and put back


class ImageMetric(Metric):
    """A score of fake images against real ones, on the outputs of a feature extractor.

    A subclass adds its states (those of the real side named ``real_...``), and defines `accumulate` and `compute`.
    `compute` returns a scalar, or a dict of scalars and vectors, in which a key that is empty or begins with ``_`` is
    appended to the metric's name and any other key is a name of its own.

    Args:
        extractor: what turns images into features and logits.
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        super().__init__(**kwargs)
        self.extractor = extractor

    def update(
        self,
        images: Tensor | FeatureOutputs,
        real: bool,
        labels: Tensor | None = None,
        rows: Rows | None = None,
    ) -> None:
        """Take in a batch.

        Args:
            images: uint8 [N, C, H, W], or what the extractor made of them.
            real: whether they are real images.
            labels: int64 [N], the class a fake was asked to be or a real image is.
            rows: their positions in the whole set, for metrics that split it; null: they follow those before.
        """
        if isinstance(images, FeatureOutputs):
            outputs = images
        else:
            check_images(images)
            outputs = self.extractor(images)
        self.accumulate(outputs, real, labels, rows)

    def update_features(
        self, outputs: FeatureOutputs, real: bool, labels: Tensor | None = None, rows: Rows | None = None
    ) -> None:
        """`update` on what the extractor already made of the images."""
        self.update(outputs, real, labels, rows)

    @abstractmethod
    def accumulate(self, outputs: FeatureOutputs, real: bool, labels: Tensor | None, rows: Rows | None) -> None:
        """Add a batch to the states of its side."""

    def settings(self) -> str:
        """Whatever changes the states of the real side beside images and extractor; part of the cache's key."""
        return ""

    def real_states(self) -> dict[str, Tensor]:
        """The real side of this process: states that are sums, or rows concatenated."""
        return {name: dim_zero_cat(getattr(self, name)) for name in self._defaults if name.startswith(REAL)}

    def load_real_states(self, states: Mapping[str, Tensor], rank: int = 0, world: int = 1) -> bool:
        """Put the real side of all processes back; False (and nothing changed) if it does not fit this metric.

        Sums go to the first process; of rows every process gets a contiguous part.
        """
        expected = {name: default for name, default in self._defaults.items() if name.startswith(REAL)}
        if states.keys() != expected.keys():
            return False
        if any(isinstance(x, Tensor) and x.shape != states[name].shape for name, x in expected.items()):
            return False
        for name, default in expected.items():
            value = states[name].to(self.device)
            if isinstance(default, list):
                setattr(self, name, [value[len(value) * rank // world : len(value) * (rank + 1) // world]])
            else:
                setattr(self, name, value if rank == 0 else torch.zeros_like(value))
        return True


def require_images(count: float | Tensor, side: str, least: int = 2) -> None:
    """Refuse to score fewer than `least` images."""
    if int(count) < least:
        raise InputError(f"{int(count)} {side} images: a score needs at least {least}")
