"""What the discriminator sees of an image: transformations (images [b, C, H, W] in [-1, 1], Draws) to images.

They act on real and generated images alike, in both players' turns, are differentiable twice, and change each image by
random numbers of its own row, so that any number of processes sees the same images.
"""

from __future__ import annotations

from torch import Tensor, nn

from saddle.randomness import Draws
from saddle.turn import Turn


class Augment(nn.Module):
    """A transformation of images, here none. Its buffers are part of the checkpoint.

    A turn of D asks `reals` for its real images. A training loop calls `observe` with what D says of the real images of
    each part of a batch in D's turn, and `after_step` after its optimiser step; only one that adapts its strength does
    anything there.
    """

    def forward(self, images: Tensor, draws: Draws) -> Tensor:
        """Images [b, C, H, W] in [-1, 1] to what D sees of them, same shape; the range may be left a little."""
        return images

    def reals(self, turn: Turn) -> Tensor:
        """What D is told is real in its own turn, before any transformation: the real images, [b, C, H, W]."""
        return turn.real

    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        """Take note of D's logits of real images [B], gathered from all processes, above the loss's `boundary`.

        Returns:
            What is worth a line in the log, 0-d by name: logged as train/augment/<name>.
        """
        return {}

    def after_step(self, images: int) -> None:
        """Adapt, given the number of real images of D's step, over all processes."""


class NoAugment(Augment):
    """D sees the image itself."""
