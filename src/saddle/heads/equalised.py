"""Heads with equalised learning rates: those of ProGAN, StyleGAN and StyleGAN2."""

from __future__ import annotations

import math

from torch import Tensor

from saddle.heads.base import Head
from saddle.networks.equalised import EqualisedLinear
from saddle.networks.stylegan2 import Mapping


class EqualisedHead(Head):
    """logit = c w . phi + b with an equalised learning rate: the last layer of ProGAN's and StyleGAN's D."""

    def __init__(self, features: int, classes: int = 0):
        super().__init__(features, classes)
        self.linear = EqualisedLinear(features, 1)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return self.linear(features).squeeze(1)


class MappedProjection(Head):
    """Conditioning of StyleGAN2-ADA: logit = <m_y, W phi + b> / sqrt(F), m_y a mapping network's w of the label alone.

    Args:
        mapping_layers: 8 in the published code, also for CIFAR-10.
    """

    needs_labels = True

    def __init__(self, features: int, classes: int, mapping_layers: int = 8):
        super().__init__(features, classes)
        self.linear = EqualisedLinear(features, features)
        self.mapping = Mapping(0, features, mapping_layers, classes)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        directions = self.mapping(None, labels)
        return (self.linear(features) * directions).sum(1) / math.sqrt(features.shape[1])
