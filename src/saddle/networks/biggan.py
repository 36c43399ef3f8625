"""BigGAN (Brock, Donahue and Simonyan 2019, appendix B) for images of 32 to 512 pixels.

The networks for 128 and 256 pixels follow the paper; 32 pixels follows PyTorch-StudioGAN, 64 PyTorch-StudioGAN and
BigGAN-PyTorch, 512 BigGAN-PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.base import Blocks, ResidualGenerator, ResidualTrunk
from saddle.networks.blocks import DiscriminatorBlock, GeneratorBlock
from saddle.networks.norm import ClassBatchNorm, ConditionalBatchNorm

EMBEDDING = 128  # length of the class embedding that all blocks share


class Plan(NamedTuple):
    """The layers for one resolution; channels are multiples of the width.

    Attributes:
        generator: channels into the first block (at 4x4), then out of each block (each doubles the size).
        discriminator: channels out of each block.
        down: how many of the discriminator's blocks, from the first, halve the size.
        attention: self-attention follows the block that ends at this size, in both networks.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    down: int
    attention: int


PLANS = {
    32: Plan((4, 4, 4, 4), (2, 2, 2, 2), 2, 16),
    64: Plan((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4, 32),
    128: Plan((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5, 64),
    256: Plan((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6, 64),
    512: Plan((16, 16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 7, 64),
}


def plan(resolution: int, plans: Mapping[int, Plan] = PLANS, family: str = "biggan") -> Plan:
    """The plan for a resolution.

    Raises:
        InputError: for a resolution without one, naming those of the family.
    """
    if resolution not in plans:
        known = ", ".join(map(str, plans))
        raise InputError(f"data.resolution={resolution}: model={family} is made for {known}")
    return plans[resolution]


def doublings(small: int, large: int) -> int:
    """How often a size doubles to become another one."""
    return (large // small).bit_length() - 1


class Generator(ResidualGenerator):
    """Residual generator with class-conditional batch norm.

    `shared` and `hierarchical` span the rows of the paper's table 1. Both: the latent is cut into one chunk for the
    first layer and one per block, and each conditional batch norm reads [class embedding, chunk of its block]. Only
    `shared`: each reads the class embedding, and the first layer the whole latent. Neither: each has a gain and a bias
    per class.

    Args (see `saddle.networks` for the others):
        latent_dim: with `hierarchical`, a multiple of the number of blocks + 1.
        width: channel multiplier (96 and 64 in the paper).
        resolution: 32, 64, 128, 256 or 512.
        shared: one class embedding (128 numbers, without spectral norm) for all blocks.
        hierarchical: give every block its own chunk of the latent; needs `shared`.
        attention: self-attention at the published size.

    Raises:
        InputError: for data without classes, or a latent that cannot be cut.
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        classes: int,
        shared: bool = True,
        hierarchical: bool = True,
        attention: bool = True,
        norm: str = "spectral",
        init: str = "orthogonal",
    ):
        if classes < 1:
            raise InputError("model=biggan needs data with labels; choose such data, or model=dcgan")
        layers = plan(resolution)
        widths = [multiple * width for multiple in layers.generator]
        chunk = self._chunk(latent_dim, len(widths), shared) if hierarchical else 0
        make_norm = (
            partial(ConditionalBatchNorm, condition=EMBEDDING + chunk, norm=norm)
            if shared
            else partial(ClassBatchNorm, classes=classes)
        )

        def block(index: int, inputs: int, outputs: int) -> GeneratorBlock:
            return GeneratorBlock(inputs, outputs, make_norm, norm)

        blocks = Blocks(widths, block, doublings(4, layers.attention) - 1 if attention else None, norm)
        embedding = nn.Embedding(classes, EMBEDDING) if shared else None
        super().__init__(chunk or latent_dim, blocks, channels, init, embedding=embedding)
        self.chunk = chunk

    @staticmethod
    def _chunk(latent_dim: int, slots: int, shared: bool) -> int:
        if not shared:
            raise InputError("model.hierarchical=true needs model.shared=true; set model.hierarchical=false")
        if latent_dim % slots or latent_dim < slots:
            near = max(round(latent_dim / slots), 1) * slots
            raise InputError(
                f"model.latent_dim={latent_dim} cannot be cut into {slots} equal chunks; "
                f"try {near}, or model.hierarchical=false"
            )
        return latent_dim // slots

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W] in [-1, 1]."""
        condition = labels if self.embedding is None else self.embedding(labels)
        if not self.chunk:
            return self.draw(latents, [condition] * len(self.blocks))
        first, *rest = latents.split(self.chunk, 1)
        return self.draw(first, [torch.cat([condition, chunk], 1) for chunk in rest])


class Trunk(ResidualTrunk):
    """Residual discriminator without its head: ReLU and a sum over positions at the end.

    Args (see `saddle.networks` for the others):
        width: channel multiplier.
        resolution: 32, 64, 128, 256 or 512.
        attention: self-attention at the published size.
    """

    def __init__(
        self,
        width: int,
        resolution: int,
        channels: int,
        attention: bool = True,
        norm: str = "spectral",
        init: str = "orthogonal",
    ):
        layers = plan(resolution)

        def block(index: int, inputs: int, outputs: int) -> DiscriminatorBlock:
            return DiscriminatorBlock(inputs, outputs, index < layers.down, norm, first=index == 0)

        widths = [channels, *(multiple * width for multiple in layers.discriminator)]
        place = doublings(layers.attention, resolution) - 1 if attention else None
        super().__init__(Blocks(widths, block, place, norm), init)
