"""R3GAN's heads (Huang et al. 2024), without a bias, which a relativistic loss would cancel."""

from __future__ import annotations

import math

from torch import Tensor, nn

from saddle.heads.base import Head
from saddle.networks.r3gan import variance_scaled


class UnbiasedHead(Head):
    """logit = w . phi, w ~ N(0, 1 / F)."""

    def __init__(self, features: int, classes: int = 0):
        super().__init__(features, classes)
        self.linear = nn.Linear(features, 1, bias=False)
        variance_scaled(self.linear.weight, 1.0)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return self.linear(features).squeeze(1)


class LabelProjection(Head):
    """logit = <e_y, W phi> with a linear embedding e_y of the label, of as many numbers as features."""

    needs_labels = True

    def __init__(self, features: int, classes: int):
        super().__init__(features, classes)
        self.linear = nn.Linear(features, features, bias=False)
        self.embedding = nn.Embedding(classes, features)
        variance_scaled(self.linear.weight, 1.0)
        nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(features * classes))

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return (self.linear(features) * self.embedding(labels)).sum(1)
