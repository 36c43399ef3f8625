"""Heads with equalised learning rates: those of ProGAN, StyleGAN and StyleGAN2."""

from __future__ import annotations

import math

from torch import Tensor

from saddle.heads.base import Head
from saddle.networks.equalised import EqualisedLinear
from saddle.networks.stylegan2 import Mapping


class EqualisedHead(Head):
    """logit = c w . phi + b with an equalised learning rate: the last layer of ProGAN's and StyleGAN's discriminators.

    Args:
        features: F.
        classes, norm, init: not read.
    """

    def __init__(self, features: int, classes: int = 0, norm: str = "none", init: str = "orthogonal"):
        super().__init__(classes)
        self.linear = EqualisedLinear(features, 1)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """Features [B, F] -> logits [B]; labels and images are not read."""
        return self.linear(features).squeeze(1)


class MappedProjection(Head):
    """Conditioning of StyleGAN2-ADA: logit = <m_y, W phi + b> / sqrt(F), m_y a mapping network's w of the label alone.

    Args:
        features: F, of the trunk and of m_y.
        classes: number of classes.
        norm, init: not read: the layers are of equalised learning rate.
        mapping_layers: 8 in the published code, also for CIFAR-10.

    Raises:
        InputError: where the data has no labels.
    """

    needs_labels = True

    def __init__(
        self, features: int, classes: int, norm: str = "none", init: str = "orthogonal", mapping_layers: int = 8
    ):
        super().__init__(classes)
        self.linear = EqualisedLinear(features, features)
        self.mapping = Mapping(0, features, mapping_layers, classes)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """Features [B, F] and labels [B] (int64) -> logits [B]; images are not read."""
        directions = self.mapping(None, labels)
        return (self.linear(features) * directions).sum(1) / math.sqrt(features.shape[1])
