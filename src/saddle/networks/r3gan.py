"""R3GAN (Huang et al. 2024): residual blocks of grouped convolutions without any norm, style, noise or minibatch layer.

G and D mirror each other, with two blocks per size. The published widths, from 4x4 on: CIFAR-10 768 x 4; FFHQ at 64
pixels 768 x 4, 384, at 256 pixels 768 x 4, 384, 192, 96; ImageNet at 32 pixels 1536 x 4, at 64 pixels 1536 x 5. That
is `width` for the first `full` sizes, then half as much at each further size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.progan import sizes
from saddle.networks.resample import SMOOTH, Downsample, Upsample
from saddle.precision import at_least_float32

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance through the LeakyReLU
EXPANSION = 2  # hidden channels of a block over its own
GROUP = 16  # channels of a group of the grouped convolution: 96 groups at width 768


def widths(resolution: int, width: int, full: int) -> list[int]:
    """The channels at 4, 8, ... pixels.

    Raises:
        InputError: for an unsupported resolution, or a width that gives no whole groups.
    """
    made = [width // 2 ** max(stage - full + 1, 0) for stage in range(len(sizes(resolution)))]
    if made[-1] < 1 or made[-1] * EXPANSION % GROUP or width % made[-1]:
        halvings = max(len(made) - full, 0)
        raise InputError(
            f"model.width={width}: at {resolution} pixels R3GAN needs a multiple of {GROUP // EXPANSION * 2**halvings}"
        )
    return made


def variance_scaled(weight: Tensor, gain: float) -> None:
    """Draw weights [out, in, ...] from N(0, gain^2 / fan_in)."""
    nn.init.normal_(weight, 0.0, gain / math.sqrt(weight[0].numel()))


class ResidualBlock(nn.Module):
    """x + c1(act(grouped c3(act(c1(x))))), act: bias and LeakyReLU; the last convolution starts at zero.

    Args:
        channels: C; the grouped convolution has 2 C in groups of 16.
        gain: of the first two convolutions' initial weights.
    """

    def __init__(self, channels: int, gain: float):
        super().__init__()
        hidden = EXPANSION * channels
        self.convolution1 = nn.Conv2d(channels, hidden, 1)
        self.convolution2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden // GROUP)
        self.convolution3 = nn.Conv2d(hidden, channels, 1, bias=False)
        for convolution in (self.convolution1, self.convolution2):
            variance_scaled(convolution.weight, gain)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.convolution3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        h = F.leaky_relu(self.convolution1(x), SLOPE)
        h = F.leaky_relu(self.convolution2(h), SLOPE)
        return self.convolution3(h) + x  # in this order the sum has the convolution's memory format, channels_last


def stage(channels: int, blocks: int, total: int) -> list[ResidualBlock]:
    """The blocks of one size, of `total` in the network: with more blocks, each starts smaller (Fixup)."""
    gain = GAIN * total**-0.25  # L^(-1 / (2 m - 2)) for m = 3 convolutions in a block
    return [ResidualBlock(channels, gain) for _ in range(blocks)]


def transition(inputs: int, outputs: int) -> nn.Module:
    """What changes the number of channels between two sizes: nothing where it stays."""
    return nn.Identity() if inputs == outputs else pointwise(inputs, outputs)


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution without bias, of gain 1."""
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    variance_scaled(convolution.weight, 1.0)
    return convolution


class Generator(nn.Module):
    """A learned 4x4 basis, weighted by a linear map of the latent, then blocks and upsampling; no tanh at the end.

    Args (see `saddle.networks` for the others):
        latent_dim: 64 in the paper.
        width: channels at the small sizes; 768 in the paper, 1536 for ImageNet. A multiple of 8 for each halving.
        resolution: a power of two, 8 at least.
        full: how many sizes, from 4x4, have the full width; 4 in the paper, 5 for ImageNet at 64 pixels.
        blocks: per size; 2 in the paper.
        classes: append a linear embedding of the label, as long as the latent is, to the latent; 0: ignore labels.

    Raises:
        InputError: for a width that gives no whole groups.
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        full: int = 4,
        blocks: int = 2,
        classes: int = 0,
    ):
        super().__init__()
        own = widths(resolution, width, full)
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        self.linear = nn.Linear(latent_dim * (2 if classes else 1), own[0], bias=False)
        self.basis = nn.Parameter(torch.randn(own[0], 4, 4))
        total = blocks * len(own)
        layers: list[nn.Module] = [*stage(own[0], blocks, total)]
        for before, after in zip(own[:-1], own[1:], strict=True):
            layers += [transition(before, after), Upsample(SMOOTH), *stage(after, blocks, total)]
        self.layers = nn.Sequential(*layers, pointwise(own[-1], channels))
        variance_scaled(self.linear.weight, 1.0)
        if self.embedding is not None:  # a linear layer of the one-hot label: its fan-in is the number of classes
            nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(classes))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W]."""
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding(labels).to(latents.dtype)], 1)
        weights = self.linear(latents)[:, :, None, None]
        return at_least_float32(self.layers(self.basis.to(weights.dtype) * weights))


class Trunk(nn.Module):
    """The mirror image of G, ending in a 4x4 convolution of each channel alone; F is `width`. Arguments as G's."""

    def __init__(self, width: int, resolution: int, channels: int, full: int = 4, blocks: int = 2):
        super().__init__()
        own = widths(resolution, width, full)[::-1]
        self.features, self.independent = own[-1], True
        total = blocks * len(own)
        layers: list[nn.Module] = [pointwise(channels, own[0]), *stage(own[0], blocks, total)]
        for before, after in zip(own[:-1], own[1:], strict=True):
            layers += [Downsample(SMOOTH), transition(before, after), *stage(after, blocks, total)]
        basis = nn.Conv2d(self.features, self.features, 4, groups=self.features, bias=False)
        variance_scaled(basis.weight, 1.0)
        self.layers = nn.Sequential(*layers, basis, nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        return self.layers(images)
