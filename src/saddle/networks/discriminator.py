"""A discriminator: a trunk that reads the image and a head that gives the logit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from saddle.networks.heads import Head


class Verdict(NamedTuple):
    """What a discriminator says of a batch: logits [B] in float32 at least, features [B, F] they were read from."""

    logits: Tensor
    features: Tensor


class Discriminator(nn.Module):
    """Trunk (images to features) and head (features and labels to logits).

    Args:
        trunk: a network with attributes `features` (F) and `independent` (samples do not influence each other).
        head: made for the trunk's number of features.
    """

    def __init__(self, trunk: nn.Module, head: Head):
        super().__init__()
        self.trunk = trunk
        self.head = head

    @property
    def independent(self) -> bool:
        """Whether samples do not influence each other, as the trunk declares."""
        return bool(self.trunk.independent)

    def forward(self, images: Tensor, labels: Tensor) -> Verdict:
        """Images [B, C, H, W] in [-1, 1] and labels [B] (int64) -> Verdict."""
        features = self.trunk(images)
        return Verdict(wide(self.head(features, labels)), features)


def wide(x: Tensor) -> Tensor:
    """`x` in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
