"""A discriminator: a trunk that reads the image and a head that gives the logit."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from saddle.networks.heads import Head


class Verdict(NamedTuple):
    """What a discriminator says of a batch: logits [B], and the features [B, F] they were read from."""

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

    def forward(self, images: Tensor, labels: Tensor) -> Verdict:
        """Images [B, C, H, W] in [-1, 1] and labels [B] (int64) -> Verdict."""
        features = self.trunk(images)
        return Verdict(self.head(features, labels), features)
