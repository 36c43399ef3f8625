"""The residual networks of SNGAN (Miyato et al. 2018) for 32, 48, 64 and 128 pixels, and what others made of them.

WGAN-GP (Gulrajani et al. 2017) has the same networks for 32 pixels, with a mean instead of a sum over positions and no
spectral norm; the projection discriminator (Miyato and Koyama 2018) adds class-conditional batch norm; SAGAN (Zhang et
al. 2019) adds self-attention, a spectral norm in G and wider blocks in D.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor

from saddle.errors import InputError
from saddle.networks.base import Blocks, Condition, ResidualGenerator, ResidualTrunk
from saddle.networks.blocks import DiscriminatorBlock, GeneratorBlock
from saddle.networks.norm import class_norm


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


class Generator(ResidualGenerator):
    """A linear layer, blocks that double the size, batch norm, ReLU, a 3x3 convolution, tanh.

    Args (see `saddle.networks` for the others):
        width: channels of the last hidden layer; published: 256 at 32 pixels, 64 above.
        resolution: 32, 48, 64 or 128.
        conditioning: "batch_norm" acts in the blocks; the last norm stays plain, as in the released code.
        attention: self-attention at half the resolution, before the last block.
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
        layers = plan(resolution, width)
        condition = Condition(conditioning, classes)
        make_norm = partial(class_norm, classes=condition.classes_in_norm)

        def block(index: int, inputs: int, outputs: int) -> GeneratorBlock:
            return GeneratorBlock(inputs, outputs, make_norm, norm)

        blocks = Blocks(layers.generator, block, len(layers.generator) - 3 if attention else None, norm)
        super().__init__(latent_dim + condition.length, blocks, channels, init, layers.start)
        self.condition = condition

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W] in [-1, 1]."""
        return self.draw(self.condition(latents, labels), [labels] * len(self.blocks))


class Trunk(ResidualTrunk):
    """Blocks that halve the size at first, ReLU, a sum or mean over positions.

    Args (see `saddle.networks` for the others):
        width: that of the generator it is made for; D has half as many channels in each layer at 32 pixels, and as many
            in the first layer above.
        resolution: 32, 48, 64 or 128.
        pooling: over positions, "sum" (SNGAN) or "mean" (WGAN-GP).
        attention: self-attention at half the resolution, after the first block.
        wide: the hidden layer of a block has its output's channels (SAGAN) instead of its input's (SNGAN).
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
        layers = plan(resolution, width)

        def block(index: int, inputs: int, outputs: int) -> DiscriminatorBlock:
            return DiscriminatorBlock(inputs, outputs, index < layers.down, norm, wide, first=index == 0)

        blocks = Blocks((channels, *layers.discriminator), block, 0 if attention else None, norm)
        super().__init__(blocks, init, pooling=pooling)
