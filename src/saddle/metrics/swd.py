"""The sliced Wasserstein distance between image patches at several scales."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddle.errors import InputError
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureOutputs, Pixels
from saddle.randomness import Rows, generator

COARSEST = 16  # height and width of the last level are not below it
PATCH = 7
_CHUNK = 32  # projections at a time


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """What each scale adds to the next coarser one (Burt & Adelson 1983), as in the code of Karras et al. 2018.

    Args:
        images: [N, C, H, W], floating point, not smaller than 16 x 16.

    Returns:
        differences [N, C, H, W], [N, C, H/2, W/2] ..., and last the coarsest image; none is smaller than 16 x 16.
    """
    levels = []
    while min(images.shape[-2:]) >= 2 * COARSEST:
        coarse = _filter(images)[..., ::2, ::2]
        spread = images.new_zeros(images.shape)
        spread[..., ::2, ::2] = coarse
        levels.append(images - 4 * _filter(spread))
        images = coarse
    return [*levels, images]


def _filter(images: Tensor) -> Tensor:
    """Convolution with the 5 x 5 binomial filter; the image is mirrored at its outermost pixels."""
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=images.dtype, device=images.device) / 16
    kernel = torch.outer(line, line).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=images.shape[1])


def cut_patches(images: Tensor, patches: int, draws: torch.Generator) -> Tensor:
    """Patches of 7 x 7 pixels at random places: [N, C, H, W] to [N * patches, C, 7, 7]."""
    n, _, height, width = images.shape
    corners = [torch.randint(size - PATCH + 1, (n, patches, 1), generator=draws) for size in (height, width)]
    lines, columns = ((corner + torch.arange(PATCH)).to(images.device) for corner in corners)
    image = torch.arange(n, device=images.device)[:, None, None, None]
    cut = images[image, :, lines[:, :, :, None], columns[:, :, None, :]]  # [N, patches, 7, 7, C]
    return cut.flatten(0, 1).permute(0, 3, 1, 2)


def describe(patches: Tensor) -> Tensor:
    """Patches [P, C, 7, 7] as vectors [P, C * 49]; every channel gets mean 0 and standard deviation 1 over all."""
    deviation, mean = torch.std_mean(patches, (0, 2, 3), keepdim=True, correction=0)
    return ((patches - mean) / deviation.clamp(min=1e-12)).flatten(1)


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int, draws: torch.Generator) -> Tensor:
    """The mean over random directions of the Wasserstein-1 distance of the projected points (Rabin et al. 2011).

    Args:
        x, y: points [P, D], equally many.
        projections: number of directions, uniform on the sphere.
        draws: of the directions.

    Returns:
        float64 scalar, at least 0.
    """
    directions = F.normalize(torch.randn(projections, x.shape[1], generator=draws), dim=1).to(x)
    total = x.new_zeros((), dtype=torch.float64)
    for part in directions.split(_CHUNK):
        gap = (part @ x.T).sort(1).values - (part @ y.T).sort(1).values
        total += gap.abs().mean(1, dtype=torch.float64).sum()
    return total / projections


class EvenlySpread(Features):
    """`Features` of at most `images` images of a side, evenly spread over it where the positions are told."""

    def __init__(self, images: int):
        super().__init__()
        self.images = images
        self.settings = f"images={images}"

    def add(self, states: dict[str, Any], outputs: FeatureOutputs, labels: Tensor | None, rows: Rows | None) -> None:
        pixels = outputs.features
        if min(pixels.shape[-2:]) < COARSEST:
            raise InputError(f"swd: images of {list(pixels.shape[-2:])} pixels; it needs at least 16 x 16")
        if rows is None:
            kept = pixels[: max(0, self.images - sum(map(len, states["rows"])))]
        else:
            most = min(self.images, rows.total)
            positions = torch.arange(rows.start, rows.stop + 1) * most // rows.total
            kept = pixels[positions.diff().nonzero()[:, 0].to(pixels.device)]
            rows = Rows(int(positions[0]), int(positions[-1]), most)
        super().add(states, FeatureOutputs(kept, outputs.logits), labels, rows)


class SlicedWasserstein(ImageMetric):
    """Sliced Wasserstein distance times 1000 of patches on a Laplacian pyramid (Karras et al. 2018, arXiv:1710.10196).

    Section 5 there: 7 x 7 patches from each level, normalised per channel over all patches of a side, 512 directions;
    levels down to 16 x 16. A large distance on a coarse level means other large structures, on a fine one other
    textures or noise. It works on the images, without a network.

    Known values: near 0 (not 0: the patches are random) where both sides have the same distribution.

    Args:
        images: at most so many of a side, evenly spread over it; at least 2.
        patches: from each image and level, at least 1.
        projections: number of directions, at least 1.
        seed: of patches and directions.
    """

    def __init__(
        self,
        images: int = 8192,
        patches: int = 128,
        projections: int = 512,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(Pixels(), EvenlySpread(images), **kwargs)
        if images < 2 or patches < 1 or projections < 1:
            raise InputError(
                f"swd: images={images}, patches={patches}, projections={projections}; choose at least 2, 1 and 1"
            )
        self.patches, self.projections, self.seed = patches, projections, seed

    def compute(self) -> dict[str, Tensor]:
        """The mean over the levels, and each level by its height: ``_32``, ``_16``; float64 scalars, times 1000.

        InputError with fewer than two images on a side.
        """
        real, fake = self.gathered("real"), self.gathered("fake")
        n = min(len(real), len(fake))
        spread = [x[(torch.arange(n) * len(x) // n).to(x.device)] for x in (real, fake)]
        pyramids = zip(*(laplacian_pyramid(x.float()) for x in spread), strict=True)
        levels = {f"_{pair[0].shape[-2]}": self._level(*pair) for pair in pyramids}
        return {"": torch.stack(list(levels.values())).mean(), **levels}

    def _level(self, real: Tensor, fake: Tensor) -> Tensor:
        height = real.shape[-2]
        x, y = (
            describe(cut_patches(images, self.patches, generator(self.seed, "swd", side, height)))
            for side, images in (("real", real), ("fake", fake))
        )
        draws = generator(self.seed, "swd", "directions", height)
        return 1000 * sliced_wasserstein(x, y, self.projections, draws)
