"""What the discriminator sees of an image: transformations (images [b, C, H, W] in [-1, 1], Draws) to images."""

from __future__ import annotations

from torch import Tensor, nn

from saddle.randomness import Draws


class NoAugment(nn.Module):
    """D sees the image itself."""

    def forward(self, images: Tensor, draws: Draws) -> Tensor:
        """The same images."""
        return images
