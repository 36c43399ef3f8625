"""Parts that residual networks share: convolutions that resample, residual blocks, attention.

The order of layers in the blocks is that of SNGAN, SAGAN and BigGAN. Where two linear operations commute or compose,
the cheaper way is computed; the value is the same up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.networks.norm import activation_norm, weight_norm

Resample = Literal["none", "up", "down"]


def spread(kernel: Tensor) -> Tensor:
    """The kernel [O, I, k, k] convolved with a 2x2 box of ones: [O, I, k+1, k+1]."""
    kernel = F.pad(kernel, (0, 1)) + F.pad(kernel, (1, 0))
    return F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))


def convolve3x3(x: Tensor, weight: Tensor, bias: Tensor | None, resample: Resample) -> Tensor:
    """3x3 convolution that keeps the size, after nearest upsampling by 2 or before average pooling by 2 where asked.

    Resampling is merged into the kernel: upsampling and convolution are one transposed 4x4 convolution of stride 2,
    convolution and pooling one 4x4 convolution of stride 2. Same value, 16 instead of 36 multiplications per pixel of
    the small image, and the large intermediate image never exists.
    """
    if resample == "up":
        return F.conv_transpose2d(x, spread(weight.flip(2, 3)).transpose(0, 1), bias, stride=2, padding=1)
    if resample == "down":
        return F.conv2d(x, spread(weight) / 4, bias, stride=2, padding=1)
    return F.conv2d(x, weight, bias, padding=1)


class Conv3x3(nn.Conv2d):
    """`convolve3x3` as a layer."""

    init_gain = math.sqrt(2)  # SNGAN's gain for convolutions of a residual path; read by `initialise` for xavier

    def __init__(self, inputs: int, outputs: int, resample: Resample = "none"):
        super().__init__(inputs, outputs, 3, padding=1)
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W], [.., 2H, 2W] (up) or [.., H/2, W/2] (down)."""
        return convolve3x3(x, self.weight, self.bias, self.resample)


class GeneratorBlock(nn.Module):
    """(c)BN, ReLU, up, c3, (c)BN, ReLU, c3; shortcut: up, c1 (Miyato et al. 2018; Brock et al. 2019).

    Args:
        make_norm: makes the conditional norm of a number of channels; it is called with (x, condition).
        norm: weight norm of the convolutions, spectral or none.
    """

    def __init__(self, inputs: int, outputs: int, make_norm: Callable[[int], nn.Module], norm: str = "spectral"):
        super().__init__()
        self.norm1, self.norm2 = make_norm(inputs), make_norm(outputs)
        self.conv1 = weight_norm(norm, Conv3x3(inputs, outputs, "up"))
        self.conv2 = weight_norm(norm, Conv3x3(outputs, outputs))
        self.shortcut = weight_norm(norm, nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, 2H, 2W]."""
        h = self.conv1(F.relu(self.norm1(x, condition)))
        h = self.conv2(F.relu(self.norm2(h, condition)))
        # a 1x1 convolution commutes with nearest upsampling: before it, it sees a quarter of the pixels
        return h + F.interpolate(self.shortcut(x), scale_factor=2.0, mode="nearest")


class DiscriminatorBlock(nn.Module):
    """ReLU, c3, ReLU, c3, [down]; shortcut: c1, [down], or the identity (Miyato et al. 2018; Brock et al. 2019).

    The first block of a discriminator leaves out the first ReLU, because images may not be rectified. Norms of
    activations (batch, layer, instance), if any, precede the ReLUs.

    Args:
        down: halve the size.
        wide: hidden channels are `outputs` as in BigGAN, else `inputs` as in SNGAN.
        first: this is the first block.
    """

    def __init__(
        self, inputs: int, outputs: int, down: bool, norm: str = "spectral", wide: bool = True, first: bool = False
    ):
        super().__init__()
        hidden = outputs if wide or first else inputs
        self.norm1: nn.Module = nn.Identity()
        if not first:
            self.norm1 = nn.Sequential(activation_norm(norm, inputs), nn.ReLU())
        self.conv1 = weight_norm(norm, Conv3x3(inputs, hidden))
        self.norm2 = activation_norm(norm, hidden)
        self.conv2 = weight_norm(norm, Conv3x3(hidden, outputs, "down" if down else "none"))
        self.pool: nn.Module = nn.AvgPool2d(2) if down else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or down:
            self.shortcut = weight_norm(norm, nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W], or [B, outputs, H/2, W/2] with `down`."""
        h = self.conv1(self.norm1(x))
        h = self.conv2(F.relu(self.norm2(h)))
        # averages commute with a 1x1 convolution and keep its bias: pooled first, it sees a quarter of the pixels
        return h + self.shortcut(self.pool(x))


class SelfAttention(nn.Module):
    """Self-attention over positions (SAGAN, Zhang et al. 2019): x + gamma * o, gamma a scalar that starts at 0.

    theta = c1(x) -> C/8; phi = c1(x) -> C/8 and g = c1(x) -> C/2, both max-pooled by 2; beta = softmax(theta^T phi)
    over the pooled positions, with no 1/sqrt(d); o = c1(g beta^T) -> C. Convolutions have no bias.

    Args:
        channels: C of the input [B, C, H, W]; H and W even.
        norm: weight norm of the convolutions, spectral or none.
    """

    def __init__(self, channels: int, norm: str = "spectral"):
        super().__init__()
        key, value = max(channels // 8, 1), max(channels // 2, 1)  # at least one, for very narrow networks
        self.theta = weight_norm(norm, nn.Conv2d(channels, key, 1, bias=False))
        self.phi = weight_norm(norm, nn.Conv2d(channels, key, 1, bias=False))
        self.g = weight_norm(norm, nn.Conv2d(channels, value, 1, bias=False))
        self.o = weight_norm(norm, nn.Conv2d(value, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        query = _positions(self.theta(x))
        key = _positions(F.max_pool2d(self.phi(x), 2))
        value = _positions(F.max_pool2d(self.g(x), 2))
        beta = (query @ key.transpose(1, 2)).softmax(-1)
        mixed = (beta @ value).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.gamma * self.o(mixed)


def _positions(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]; a view where x is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
