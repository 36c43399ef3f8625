"""Resampling by factors of two with a low-pass filter (FIR) against aliasing, as StyleGAN and R3GAN do.

A filter is a vector of taps; the image is filtered with its outer product. The image outside its borders is zero.
Everything is plain PyTorch and right under double backward: short filters are sums of shifted images, long ones
depthwise convolutions. (On a CPU the gradients of a depthwise convolution, and in bfloat16 the convolution too, are
several times slower than such a sum.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TENT = (1, 2, 1)  # StyleGAN's blur
SMOOTH = (1, 3, 3, 1)  # StyleGAN2's and R3GAN's filter: the tent convolved with a box of two
LONG = 6  # taps from which convolutions cost less than sums of shifted images


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
    vector = (f if flip else f.flip(0)).to(x.dtype) * gain**0.5  # both ways correlate
    for axis in (2, 3):
        if len(f) < LONG:
            size = (x.shape[axis] + 2 * pad - len(f)) // stride + 1
            x = _Shifted.apply(x, vector, axis, pad, stride, size, False)
            continue
        shape, pads, strides = ((-1, 1), (pad, 0), (stride, 1)) if axis == 2 else ((1, -1), (0, pad), (1, stride))
        weight = vector.view(shape).expand(channels, 1, -1, -1)
        x = F.conv2d(x, weight, stride=strides, padding=pads, groups=channels)
    return x


def upsample(x: Tensor, f: Tensor) -> Tensor:
    """Double the size: zeros between the pixels, then the filter with gain 4, [B, C, H, W] -> [B, C, 2H, 2W].

    Args:
        x: [B, C, H, W].
        f: taps [k], k even.
    """
    channels, vector = x.shape[1], f.to(x.dtype)
    if len(f) < LONG:
        for axis in (2, 3):
            x = _Shifted.apply(x, 2 * vector, axis, len(f) // 2 - 1, 2, 2 * x.shape[axis], True)
        return x
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


class _Shifted(torch.autograd.Function):
    """Correlation with a short vector along one axis of [B, C, H, W], or its adjoint; each is the other's derivative.

    With large images L and small ones S, S[i] = sum over k of f[k] L[stride i + k - pad], where L is zero outside.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Tensor, axis: int, pad: int, stride: int, size: int, adjoint: bool) -> Tensor:
        """L to S of `size` pixels, or S to L of `size` pixels where `adjoint` says so."""
        ctx.options = f, axis, pad, stride, x.shape[axis], not adjoint
        last = x.is_contiguous(memory_format=torch.channels_last)
        out = torch.empty(
            (*x.shape[:axis], size, *x.shape[axis + 1 :]),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        ).zero_()
        small, large = (x, out) if adjoint else (out, x)
        for k, tap in enumerate(f):
            first = max(-((k - pad) // stride), 0)  # the i whose pixel of L is inside
            end = min((large.shape[axis] - 1 + pad - k) // stride + 1, small.shape[axis])
            if end <= first:
                continue
            start = stride * first + k - pad
            inside = slice(start, start + stride * (end - first - 1) + 1, stride)
            ours, theirs = small.narrow(axis, first, end - first), large[(slice(None),) * axis + (inside,)]
            (theirs if adjoint else ours).addcmul_(ours if adjoint else theirs, tap)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The adjoint of what was done."""
        return _Shifted.apply(gradients[0], *ctx.options), None, None, None, None, None, None


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
    """Halves the size: the filter, then every second pixel; the number of taps is even."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H/2, W/2], H and W even."""
        return fir(x, self.taps, len(self.taps) // 2 - 1, stride=2)
