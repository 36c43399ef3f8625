"""R3GAN's heads (Huang et al. 2024), without a bias, which a relativistic loss would cancel."""

from __future__ import annotations

import math

from torch import Tensor, nn

from saddle.heads.base import Head
from saddle.networks.r3gan import variance_scaled


class UnbiasedHead(Head):
    """logit = w . phi, w ~ N(0, 1 / F).

    Args:
        features: F.
        classes, norm, init: not read.
    """

    def __init__(self, features: int, classes: int = 0, norm: str = "none", init: str = "orthogonal"):
        super().__init__(classes)
        self.linear = nn.Linear(features, 1, bias=False)
        variance_scaled(self.linear.weight, 1.0)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """Features [B, F] -> logits [B]; labels and images are not read."""
        return self.linear(features).squeeze(1)


class LabelProjection(Head):
    """logit = <e_y, W phi> with a linear embedding e_y of the label, of as many numbers as features.

    Args:
        features: F.
        classes: number of classes.
        norm, init: not read.

    Raises:
        InputError: where the data has no labels.
    """

    needs_labels = True

    def __init__(self, features: int, classes: int, norm: str = "none", init: str = "orthogonal"):
        super().__init__(classes)
        self.linear = nn.Linear(features, features, bias=False)
        self.embedding = nn.Embedding(classes, features)
        variance_scaled(self.linear.weight, 1.0)
        nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(features * classes))

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """Features [B, F] and labels [B] (int64) -> logits [B]; images are not read."""
        return (self.linear(features) * self.embedding(labels)).sum(1)
