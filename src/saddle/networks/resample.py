"""Resampling by factors of two with a low-pass filter (FIR) against aliasing, as StyleGAN and R3GAN do.

A filter is a vector of taps; the image is filtered with its outer product. Everything is a depthwise convolution of
plain PyTorch, so it is right under double backward. The image outside its borders is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TENT = (1, 2, 1)  # StyleGAN's blur
SMOOTH = (1, 3, 3, 1)  # StyleGAN2's and R3GAN's filter: the tent convolved with a box of two
SEPARABLE = 6  # taps from which two passes of vectors cost less than one of their outer product


def taps(weights: Sequence[float]) -> Tensor:
    """The weights scaled to sum 1, float32 [k]."""
    vector = torch.tensor(weights, dtype=torch.float32)
    return vector / vector.sum()


def fir(x: Tensor, f: Tensor, pad: int, *, stride: int = 1, gain: float = 1.0, flip: bool = False) -> Tensor:
    """Pad with zeros, convolve with the filter, keep every `stride`-th pixel.

    Args:
        x: [B, C, H, W].
        f: taps [k].
        pad: zeros on each side.
        stride: 1 or 2.
        gain: factor of the result.
        flip: correlate instead.

    Returns:
        [B, C, H', W'] with H' = (H + 2 pad - k) // stride + 1.
    """
    channels = x.shape[1]
    vector = (f if flip else f.flip(0)).to(x.dtype)  # torch's convolution is a correlation
    for kernel, *axes in _kernels(vector, gain):
        weight = kernel.expand(channels, 1, -1, -1)
        pads, strides = [pad * a for a in axes], [stride if a else 1 for a in axes]
        x = F.conv2d(x, weight, stride=strides, padding=pads, groups=channels)
    return x


def upsample(x: Tensor, f: Tensor) -> Tensor:
    """Double the size: zeros between the pixels, then the filter with gain 4, [B, C, H, W] -> [B, C, 2H, 2W].

    Args:
        x: [B, C, H, W].
        f: taps [k], k even.
    """
    channels, vector = x.shape[1], f.to(x.dtype)
    if len(f) < SEPARABLE:
        kernel = (4 * torch.outer(vector, vector)).expand(channels, 1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=2, padding=len(f) // 2 - 1, groups=channels)
    # even and odd pixels are two filters of the small image: nothing is multiplied by the zeros between its pixels
    weight = 2 * _phases(vector)
    radius = weight.shape[1] // 2
    for axis in (2, 3):
        shape, pads = ((2, 1, -1, 1), (radius, 0)) if axis == 2 else ((2, 1, 1, -1), (0, radius))
        y = F.conv2d(x, weight.view(shape).repeat(channels, 1, 1, 1), padding=pads, groups=channels)
        x = y.unflatten(1, (channels, 2)).movedim(2, axis + 1).flatten(axis, axis + 1)
    return x


def _phases(f: Tensor) -> Tensor:
    """The taps that make the even and the odd pixels of an enlarged row, [2, n], n odd, middle tap on the pixel."""
    k = len(f)
    radius, middle = k // 4, k // 2 - 1
    before, after = max(2 * radius - middle, 0), max(2 * radius + middle + 2 - k, 0)
    padded = F.pad(f, (before, after))
    first = before + middle - 2 * radius
    return torch.stack([padded[first + odd : first + odd + 4 * radius + 1 : 2].flip(0) for odd in (0, 1)])


def downsample(x: Tensor, f: Tensor) -> Tensor:
    """Halve the size: the filter, then every second pixel, [B, C, H, W] -> [B, C, H/2, W/2].

    Args:
        x: [B, C, H, W], H and W even.
        f: taps [k], k even.
    """
    return fir(x, f, len(f) // 2 - 1, stride=2)


def _kernels(vector: Tensor, gain: float) -> list[tuple[Tensor, int, int]]:
    """The passes over an image: a kernel [1, 1, kh, kw] of each, and whether it acts along H and along W."""
    if len(vector) < SEPARABLE:
        return [(gain * torch.outer(vector, vector)[None, None], 1, 1)]
    return [(gain * vector[None, None, :, None], 1, 0), (vector[None, None, None, :], 0, 1)]


class Filter(nn.Module):
    """Holds the taps of a filter, which follow the module to its device and type and are not part of a checkpoint.

    Args:
        weights: taps up to their scale.
    """

    taps: Tensor

    def __init__(self, weights: Sequence[float]):
        super().__init__()
        self.register_buffer("taps", taps(weights), persistent=False)


class Blur(Filter):
    """The filter at the same size; the number of taps is odd."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return fir(x, self.taps, len(self.taps) // 2)


class Upsample(Filter):
    """`upsample` with a filter of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2H, 2W]."""
        return upsample(x, self.taps)


class Downsample(Filter):
    """`downsample` with a filter of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H/2, W/2]."""
        return downsample(x, self.taps)
