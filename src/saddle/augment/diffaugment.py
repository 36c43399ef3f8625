"""DiffAugment (Zhao et al. 2020): a fixed list of differentiable transformations of every image that D sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saddle.augment import Augment
from saddle.errors import InputError
from saddle.randomness import Draws


def color(x: Tensor, draws: Draws) -> Tensor:
    """Brightness, saturation and contrast, in this order, each image by its own amount.

    Brightness adds U(-0.5, 0.5); saturation stretches the distance from the mean over channels by U(0, 2), which leaves
    an image of one channel as it is; contrast that from the mean over the image by U(0.5, 1.5).
    """
    brightness, saturation, contrast = draws.uniform(3, 1, 1, 1).unbind(1)
    x = x + (brightness - 0.5)
    x = _stretch(x, x.mean(1, keepdim=True), 2 * saturation) if x.shape[1] > 1 else x
    return _stretch(x, x.mean((1, 2, 3), keepdim=True), contrast + 0.5)


def _stretch(x: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
    return (x - centre) * factor + centre


def translation(x: Tensor, draws: Draws) -> Tensor:
    """Shift by whole pixels, up to an eighth of the side each way; what enters from outside is zero."""
    for axis in (2, 3):
        size = x.shape[axis]
        reach = int(size / 8 + 0.5)
        shift = draws.integers(2 * reach + 1)[:, None] - reach
        source = torch.arange(size, device=x.device) - shift  # [b, size]
        inside = (source >= 0) & (source < size)
        shape = [len(x), 1, 1, 1]
        shape[axis] = size
        index = source.clamp(0, size - 1).view(shape).expand_as(x)
        x = x.gather(axis, index) * inside.view(shape).to(x.dtype)
    return x


def cutout(x: Tensor, draws: Draws) -> Tensor:
    """A rectangle of half the sides becomes zero; its middle is anywhere in the image."""
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for axis in (2, 3):
        size = x.shape[axis]
        side = int(size / 2 + 0.5)
        start = draws.integers(size + (1 - side % 2))[:, None] - side // 2
        position = torch.arange(size, device=x.device)
        covered = (position >= start) & (position < start + side)
        shape = [len(x), 1, 1, 1]
        shape[axis] = size
        inside = inside & covered.view(shape)
    return x * (~inside).to(x.dtype)


TRANSFORMS = {"color": color, "translation": translation, "cutout": cutout}


class DiffAugment(Augment):
    """The transformations of a policy, one after the other.

    Args:
        policy: names from TRANSFORMS in the order in which they act. The paper: all three for little data, translation
            and cutout for CIFAR-10 with BigGAN.

    Raises:
        InputError: for an unknown name.
    """

    def __init__(self, policy: Sequence[str] = ("color", "translation", "cutout")):
        super().__init__()
        for name in policy:
            if name not in TRANSFORMS:
                raise InputError(f"augment.policy: {name} is unknown; choose among {', '.join(TRANSFORMS)}")
        self.policy = tuple(policy)

    def forward(self, images: Tensor, draws: Draws) -> Tensor:
        """Transformed images [b, C, H, W]."""
        for name in self.policy:
            images = TRANSFORMS[name](images, draws)
        return images
