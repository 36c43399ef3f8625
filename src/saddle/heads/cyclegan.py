"""CycleGAN's head: its trunk's features are the logits already."""

from __future__ import annotations

from torch import Tensor

from saddle.heads.base import Head


class Patches(Head):
    """No layer: the features are the logits of patches, [B, F] to [B * F], image by image."""

    def __init__(self, features: int, classes: int = 0):
        super().__init__(features, classes)
        self.patches = features

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """All logits, [B * F]."""
        return features.flatten()
