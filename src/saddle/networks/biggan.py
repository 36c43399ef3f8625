"""BigGAN (Brock, Donahue and Simonyan 2019, appendix B) for images of 32 to 512 pixels.

The networks for 128 and 256 pixels follow the paper; 32 pixels follows PyTorch-StudioGAN, 64 PyTorch-StudioGAN and
BigGAN-PyTorch, 512 BigGAN-PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.blocks import (
    ClassBatchNorm,
    ConditionalBatchNorm,
    DiscriminatorBlock,
    GeneratorBlock,
    SelfAttention,
)
from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, weight_norm

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


class Generator(nn.Module):
    """Residual generator with class-conditional batch norm.

    `shared` and `hierarchical` span the rows of the paper's table 1. Both: the latent is cut into one chunk for the
    first layer and one per block, and each conditional batch norm reads [class embedding, chunk of its block]. Only
    `shared`: each reads the class embedding, and the first layer the whole latent. Neither: each has a gain and a bias
    per class.

    Args:
        latent_dim: length of the latent; with `hierarchical`, a multiple of the number of blocks + 1.
        width: channel multiplier (96 and 64 in the paper).
        resolution: 32, 64, 128, 256 or 512.
        channels: channels of the image.
        classes: number of classes.
        shared: one class embedding (128 numbers, without spectral norm) for all blocks.
        hierarchical: give every block its own chunk of the latent; needs `shared`.
        attention: self-attention at the published size.
        norm: weight norm, spectral or none.
        init: a name known to `initialise`.

    Raises:
        InputError: for an unsupported resolution, data without classes, or a latent that cannot be cut.
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
        super().__init__()
        if classes < 1:
            raise InputError("model=biggan needs data with labels; choose such data, or model=dcgan")
        layers = plan(resolution)
        sizes = [multiple * width for multiple in layers.generator]
        self.latent_dim = latent_dim
        self.chunk = self._chunk(len(sizes), shared) if hierarchical else 0
        self.embedding = nn.Embedding(classes, EMBEDDING) if shared else None
        make_norm = (
            partial(ConditionalBatchNorm, condition=EMBEDDING + self.chunk, norm=norm)
            if shared
            else partial(ClassBatchNorm, classes=classes)
        )
        self.linear = weight_norm(norm, nn.Linear(self.chunk or latent_dim, 16 * sizes[0]))
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.blocks = nn.ModuleList(GeneratorBlock(i, o, make_norm, norm) for i, o in pairs)
        self.attend_after = (layers.attention // 4).bit_length() - 2  # block i ends at size 4 * 2**(i + 1)
        self.attention: nn.Module = nn.Identity()
        if attention:
            self.attention = SelfAttention(sizes[self.attend_after + 1], norm)
        self.norm = BatchNorm(sizes[-1])
        self.to_image = weight_norm(norm, nn.Conv2d(sizes[-1], channels, 3, padding=1))
        initialise(self, init)

    def _chunk(self, slots: int, shared: bool) -> int:
        if not shared:
            raise InputError("model.hierarchical=true needs model.shared=true; set model.hierarchical=false")
        if self.latent_dim % slots or self.latent_dim < slots:
            near = max(round(self.latent_dim / slots), 1) * slots
            raise InputError(
                f"model.latent_dim={self.latent_dim} cannot be cut into {slots} equal chunks; "
                f"try {near}, or model.hierarchical=false"
            )
        return self.latent_dim // slots

    def _conditions(self, latents: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the first layer reads, and what each block reads."""
        blocks = len(self.blocks)
        if self.embedding is None:
            return latents, [labels] * blocks
        classes = self.embedding(labels)
        if not self.chunk:
            return latents, [classes] * blocks
        first, *rest = latents.split(self.chunk, 1)
        return first, [torch.cat([classes, chunk], 1) for chunk in rest]

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W] in [-1, 1]."""
        first, conditions = self._conditions(latents, labels)
        x = self.linear(first).unflatten(1, (-1, 4, 4))
        for index, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            x = block(x, condition)
            if index == self.attend_after:
                x = self.attention(x)
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


class Trunk(nn.Module):
    """Residual discriminator without its head: ReLU and a sum over positions at the end.

    Args:
        width: channel multiplier.
        resolution: 32, 64, 128, 256 or 512.
        channels: channels of the image.
        attention: self-attention at the published size.
        norm: one of `saddle.networks.norm.NORMS`; spectral is the paper's.
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
        attention: bool = True,
        norm: str = "spectral",
        init: str = "orthogonal",
    ):
        super().__init__()
        layers = plan(resolution)
        sizes = [channels, *(multiple * width for multiple in layers.discriminator)]
        self.features = sizes[-1]
        self.independent = norm != "batch"
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(i, o, down=index < layers.down, norm=norm, first=index == 0)
            for index, (i, o) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        )
        self.attend_after = (resolution // layers.attention).bit_length() - 2  # block i ends at resolution / 2**(i + 1)
        self.attention: nn.Module = nn.Identity()
        if attention:
            self.attention = SelfAttention(sizes[self.attend_after + 1], norm)
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        x = images
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.attend_after:
                x = self.attention(x)
        return F.relu(x).sum((2, 3))
