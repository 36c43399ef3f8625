"""The residual networks of SNGAN (Miyato et al. 2018) for 32, 48, 64 and 128 pixels, and what others made of them.

WGAN-GP (Gulrajani et al. 2017) has the same networks for 32 pixels, with a mean instead of a sum over positions and no
spectral norm; the projection discriminator (Miyato and Koyama 2018) adds class-conditional batch norm; SAGAN (Zhang et
al. 2019) adds self-attention, a spectral norm in G and wider blocks in D.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.blocks import Condition, DiscriminatorBlock, GeneratorBlock, SelfAttention, class_norm
from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, weight_norm


class Plan(NamedTuple):
    """The layers for one resolution.

    Attributes:
        width: the published channels of G's last hidden layer.
        start: size of G's first map.
        generator: channels into the first block, then out of each block (each doubles the size), at that width.
        discriminator: channels out of each block, where G has that width.
        down: how many of D's blocks, from the first, halve the size.
    """

    width: int
    start: int
    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    down: int


PLANS = {
    32: Plan(256, 4, (256, 256, 256, 256), (128, 128, 128, 128), 2),
    48: Plan(64, 6, (512, 256, 128, 64), (64, 128, 256, 512, 1024), 4),
    64: Plan(64, 4, (1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024), 5),
    128: Plan(64, 4, (1024, 1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024), 5),
}
POOLINGS = ("sum", "mean")


def plan(resolution: int, width: int) -> Plan:
    """The layers for a resolution with all channels scaled so that G's last hidden layer has `width` of them.

    Raises:
        InputError: for a resolution that the papers have no networks for.
    """
    if resolution not in PLANS:
        known = ", ".join(map(str, PLANS))
        raise InputError(f"data.resolution={resolution}: model/generator=resnet and model/trunk=resnet have {known}")
    published = PLANS[resolution]

    def scaled(channels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(max(1, c * width // published.width) for c in channels)

    generator, discriminator = scaled(published.generator), scaled(published.discriminator)
    return published._replace(width=width, generator=generator, discriminator=discriminator)


class Generator(nn.Module):
    """Residual generator: a linear layer, blocks that double the size, batch norm, ReLU, a 3x3 convolution, tanh.

    Args:
        latent_dim: length of a latent vector.
        width: channels of the last hidden layer; published: 256 at 32 pixels, 64 above.
        resolution: 32, 48, 64 or 128.
        channels: of the image.
        classes: number of classes; 0 without labels.
        conditioning: "none" ignores the labels, "concat" appends a one-hot label to the latent, "batch_norm" gives the
            batch norms of the blocks a gain and a bias per class (the last one stays plain, as in the released code).
        attention: self-attention at half the resolution, before the last block.
        norm: weight norm, spectral or none.
        init: a name known to `initialise`.

    Raises:
        InputError: for an unsupported resolution, or a conditioning without classes.
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        classes: int = 0,
        conditioning: str = "none",
        attention: bool = False,
        norm: str = "none",
        init: str = "xavier",
    ):
        super().__init__()
        layers = plan(resolution, width)
        sizes = layers.generator
        self.latent_dim, self.start = latent_dim, layers.start
        self.condition = Condition(conditioning, classes)
        inputs = latent_dim + self.condition.length
        self.linear = weight_norm(norm, nn.Linear(inputs, layers.start**2 * sizes[0]))
        make_norm = partial(class_norm, classes=self.condition.classes_in_norm)
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.blocks = nn.ModuleList(GeneratorBlock(i, o, make_norm, norm) for i, o in pairs)
        self.attention: nn.Module = SelfAttention(sizes[-2], norm) if attention else nn.Identity()
        self.norm = BatchNorm(sizes[-1])
        self.to_image = weight_norm(norm, nn.Conv2d(sizes[-1], channels, 3, padding=1))
        initialise(self, init)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W] in [-1, 1]."""
        x = self.condition(latents, labels)
        x = self.linear(x).unflatten(1, (-1, self.start, self.start))
        *first, last = self.blocks
        for block in first:
            x = block(x, labels)
        x = last(self.attention(x), labels)
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


class Trunk(nn.Module):
    """Residual discriminator without its head: blocks, ReLU and a sum or mean over positions.

    Args:
        width: that of the generator it is made for; D has half as many channels in each layer at 32 pixels, and as many
            in the first layer above.
        resolution: 32, 48, 64 or 128.
        channels: of the image.
        pooling: over positions, "sum" (SNGAN) or "mean" (WGAN-GP).
        attention: self-attention at half the resolution, after the first block.
        wide: the hidden layer of a block has its output's channels (SAGAN) instead of its input's (SNGAN).
        norm: one of `saddle.networks.norm.NORMS`.
        init: a name known to `initialise`.

    Attributes:
        features: length F of the features.
        independent: samples do not influence each other (all norms but batch).

    Raises:
        InputError: for an unsupported resolution.
    """

    def __init__(
        self,
        width: int,
        resolution: int,
        channels: int,
        pooling: str = "sum",
        attention: bool = False,
        wide: bool = False,
        norm: str = "spectral",
        init: str = "xavier",
    ):
        super().__init__()
        layers = plan(resolution, width)
        sizes = [channels, *layers.discriminator]
        self.features, self.pooling = sizes[-1], pooling
        self.independent = norm != "batch"
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(i, o, down=index < layers.down, norm=norm, wide=wide, first=index == 0)
            for index, (i, o) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        )
        self.attention: nn.Module = SelfAttention(sizes[1], norm) if attention else nn.Identity()
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        first, *rest = self.blocks
        x = self.attention(first(images))
        for block in rest:
            x = block(x)
        x = F.relu(x)
        return x.sum((2, 3)) if self.pooling == "sum" else x.mean((2, 3))
