"""Affine maps of images, resampled without aliasing and differentiable twice (Karras et al. 2020b, appendix B).

Matrices are homogeneous, [b, n + 1, n + 1]; coordinates are (x, y), in pixels from the centre of the image.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddle.networks.resample import fir, upsample

# The low-pass filter of the orthogonal wavelet sym6: upsampling and downsampling with it are each other's inverse.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)


def matrix(rows: list[list[Tensor | float]]) -> Tensor:
    """[b, n, m] of rows of numbers and tensors [b], at least one tensor among them."""
    like = next(entry for row in rows for entry in row if isinstance(entry, Tensor))
    full = [[e if isinstance(e, Tensor) else torch.full_like(like, e) for e in row] for row in rows]
    return torch.stack([torch.stack(row, -1) for row in full], -2)


def translate(x: Tensor, y: Tensor) -> Tensor:
    """Shift by (x, y), each [b]."""
    return matrix([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def scale(x: Tensor, y: Tensor) -> Tensor:
    """Stretch by (x, y), each [b]."""
    return matrix([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])


def rotate(angle: Tensor) -> Tensor:
    """Turn by an angle [b] in radians."""
    cos, sin = angle.cos(), angle.sin()
    return matrix([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


class _Sample(torch.autograd.Function):
    """Bilinear values of images at a grid: linear in the images, so its derivatives are itself and its adjoint.

    Written out because versions of torch differ in whether grid_sample has a second derivative.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(images, grid, "bilinear", "zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(grads[0], grid, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The adjoint of `_Sample`: values at a grid, spread over the pixels that they would be read from."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        like = values.new_zeros(shape)
        spread = torch.ops.aten.grid_sampler_2d_backward(values.contiguous(), like, grid, 0, 0, False, [True, False])
        return spread[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(grads[0].contiguous(), grid), None, None


def mirrored(position: Tensor, size: int) -> Tensor:
    """Integer positions brought into [0, size) by mirroring at the first and last, as often as it takes."""
    last = size - 1
    return last - (position % max(2 * last, 1) - last).abs()


def reflect(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad [b, C, H, W] by mirroring at the middle of the border pixels, as often as it takes."""
    for axis, (before, after) in ((2, (top, bottom)), (3, (left, right))):
        size = x.shape[axis]
        if before or after:
            x = x.index_select(axis, mirrored(torch.arange(-before, size + after, device=x.device), size))
    return x


def blit(images: Tensor, inverse: Tensor) -> Tensor:
    """Move pixels without resampling, by affine maps that take pixel to pixel: flips, quarter turns, whole shifts.

    Args:
        images: [b, C, H, W], continued by mirroring.
        inverse: [b, 3, 3], from the place of a pixel in the result to the place in the image that it shows.

    Returns:
        [b, C, H, W].
    """
    height, width = images.shape[2:]
    centre = inverse.new_tensor([(width - 1) / 2, (height - 1) / 2])
    x = torch.arange(width, device=images.device) - centre[0]
    y = torch.arange(height, device=images.device) - centre[1]
    target = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1)
    source = torch.einsum("bij,hwj->bhwi", inverse[:, :2, :2], target) + inverse[:, None, None, :2, 2] + centre
    column, row = source.round().long().unbind(-1)
    index = mirrored(row, height) * width + mirrored(column, width)
    flat = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, flat).view_as(images)


def warp(images: Tensor, inverse: Tensor, taps: Tensor) -> Tensor:
    """Move the content of images by affine maps: enlarge by 2, read bilinearly, shrink by 2.

    The image is continued by mirroring, up to one more image on each side, and is zero beyond.

    Args:
        images: [b, C, H, W].
        inverse: [b, 3, 3], from the place of a pixel in the result to the place in the image that it shows.
        taps: low-pass filter [k] of an orthogonal wavelet, k even, of sum 1.

    Returns:
        [b, C, H, W]. Each image is a function of its own row alone: margins follow from the whole batch, but are wide
        enough that what lies beyond them is never read.
    """
    height, width = images.shape[2:]
    reach = len(taps) // 2
    centre = inverse.new_tensor([(width - 1) / 2, (height - 1) / 2])
    # positions that the shrinking reads, in pixels of the result: `extra` on each side of the image
    extra = reach / 2 - 0.25
    margins = _margins(inverse, centre, extra, reach + 1.0)
    left, top, right, bottom = (min(m, n - 1) for m, n in zip(margins, (width, height) * 2, strict=True))
    large = upsample(reflect(images, left, right, top, bottom), taps)

    x = torch.arange(2 * width + len(taps) - 2, device=images.device, dtype=inverse.dtype) / 2 - extra - centre[0]
    y = torch.arange(2 * height + len(taps) - 2, device=images.device, dtype=inverse.dtype) / 2 - extra - centre[1]
    target = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)  # [h, w, 2]
    source = torch.einsum("bij,hwj->bhwi", inverse[:, :2, :2], target) + inverse[:, None, None, :2, 2]
    pixel = source + centre + inverse.new_tensor([left, top])
    # pixel p of the padded image lies at 2 p + 1/2 of the enlarged one; grid_sample has its borders at -1 and 1
    grid = (4 * pixel + 2) / inverse.new_tensor([large.shape[3], large.shape[2]]) - 1
    return fir(_Sample.apply(large, grid), taps, 0, stride=2, flip=True)


def _margins(inverse: Tensor, centre: Tensor, extra: float, support: float) -> tuple[int, ...]:
    """How many pixels left, above, right and below the image some row of the batch reads."""
    corners = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], device=centre.device) * (centre + extra)
    places = corners @ inverse[:, :2, :2].transpose(1, 2) + inverse[:, None, :2, 2]  # [b, 4, 2]
    flat = places.flatten(0, 1)
    need = torch.cat([-flat.amin(0), flat.amax(0)]) - centre.repeat(2) + support
    return tuple(need.ceil().clamp(min=0).int().tolist())
