"""BigGAN-deep (Brock, Donahue and Simonyan 2019, appendix B, tables 7 to 9): bottleneck blocks, two per size.

Shortcuts keep the channels they can: G drops the last ones, D appends new ones. All conditional norms read the whole
latent and the class embedding. 128 to 512 pixels follow the paper (512: G alone is given there, D mirrors it); 32 and
64 pixels have the channels of BigGAN-PyTorch and self-attention where `saddle.networks.biggan` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks import biggan
from saddle.networks.base import Blocks, ResidualGenerator, ResidualTrunk
from saddle.networks.biggan import EMBEDDING, doublings
from saddle.networks.blocks import Conv3x3
from saddle.networks.norm import ConditionalBatchNorm, activation_norm, weight_norm

RATIO = 4  # channels of a block over those of its 3x3 convolutions


#: Those of BigGAN but at 32 pixels. Read "pair of blocks" for "block"; D's first number is of its first convolution.
PLANS = biggan.PLANS | {32: biggan.Plan((4, 4, 4, 4), (4, 4, 4, 4), 2, 16)}


class GeneratorBlock(nn.Module):
    """Four times cBN, ReLU, convolution: 1x1 to C/4, 3x3 (after upsampling), 3x3, 1x1; shortcut: first channels, up.

    Args:
        inputs: C.
        outputs: `inputs` at most.
        condition: length of the condition.
        up: double the size.
    """

    def __init__(self, inputs: int, outputs: int, condition: int, up: bool, norm: str = "spectral"):
        super().__init__()
        hidden = max(inputs // RATIO, 1)
        self.outputs, self.up = outputs, up
        make_norm = partial(ConditionalBatchNorm, condition=condition, norm=norm)
        self.norms = nn.ModuleList(make_norm(channels) for channels in (inputs, hidden, hidden, hidden))
        convolutions = [
            nn.Conv2d(inputs, hidden, 1),
            Conv3x3(hidden, hidden, "up" if up else "none"),
            Conv3x3(hidden, hidden),
            nn.Conv2d(hidden, outputs, 1),
        ]
        self.convolutions = nn.ModuleList(weight_norm(norm, convolution) for convolution in convolutions)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[B, inputs, H, W] and condition [B, condition] -> [B, outputs, H, W], or [B, outputs, 2H, 2W] with `up`."""
        h = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = convolution(F.relu(norm(h, condition)))
        shortcut = x[:, : self.outputs]
        return h + (F.interpolate(shortcut, scale_factor=2.0, mode="nearest") if self.up else shortcut)


class DiscriminatorBlock(nn.Module):
    """ReLU, 1x1 to C/4; ReLU, 3x3; ReLU, 3x3; ReLU, [pool], 1x1; shortcut: [pool], 1x1 for the channels it lacks.

    Norms of activations (batch, layer, instance), if any, precede the ReLUs.

    Args:
        outputs: C, `inputs` at least.
        down: halve the size.
    """

    def __init__(self, inputs: int, outputs: int, down: bool, norm: str = "spectral"):
        super().__init__()
        hidden = max(outputs // RATIO, 1)

        def before(channels: int) -> list[nn.Module]:
            return [activation_norm(norm, channels), nn.ReLU()]

        self.path = nn.Sequential(
            *before(inputs),
            weight_norm(norm, nn.Conv2d(inputs, hidden, 1)),
            *before(hidden),
            weight_norm(norm, Conv3x3(hidden, hidden)),
            *before(hidden),
            weight_norm(norm, Conv3x3(hidden, hidden)),
            *before(hidden),
            nn.AvgPool2d(2) if down else nn.Identity(),
            weight_norm(norm, nn.Conv2d(hidden, outputs, 1)),
        )
        self.pool: nn.Module = nn.AvgPool2d(2) if down else nn.Identity()
        self.extra = weight_norm(norm, nn.Conv2d(inputs, outputs - inputs, 1)) if outputs > inputs else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W], or [B, outputs, H/2, W/2] with `down`."""
        shortcut = self.pool(x)
        if self.extra is not None:
            shortcut = torch.cat([shortcut, self.extra(shortcut)], 1)
        return self.path(x) + shortcut


def twice(widths: Sequence[int]) -> list[int]:
    """Each number twice in a row: two blocks per size, of which one keeps its channels."""
    return [channels for channels in widths for _ in range(2)]


class Generator(ResidualGenerator):
    """Residual generator; latent and class embedding, joined, enter the first layer and every batch norm.

    Args (see `saddle.networks` for the others):
        latent_dim: 128 in the paper.
        width: channel multiplier; 128 in the paper.
        resolution: 32, 64, 128, 256 or 512.
        attention: self-attention at the published size.

    Raises:
        InputError: for data without classes.
    """

    embedding: nn.Embedding

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        classes: int,
        attention: bool = True,
        norm: str = "spectral",
        init: str = "orthogonal",
    ):
        if classes < 1:
            raise InputError("model=biggan_deep needs data with labels; choose such data, or model=dcgan")
        layers = biggan.plan(resolution, PLANS, "biggan_deep")
        widths = [multiple * width for multiple in layers.generator]
        condition = latent_dim + EMBEDDING

        def block(index: int, inputs: int, outputs: int) -> GeneratorBlock:
            return GeneratorBlock(inputs, outputs, condition, up=index % 2 == 1, norm=norm)

        place = 2 * doublings(4, layers.attention) - 1 if attention else None
        embedding = nn.Embedding(classes, EMBEDDING)
        blocks = Blocks(twice(widths)[:-1], block, place, norm)
        super().__init__(condition, blocks, channels, init, embedding=embedding)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W] in [-1, 1]."""
        condition = torch.cat([latents, self.embedding(labels).to(latents.dtype)], 1)
        return self.draw(condition, [condition] * len(self.blocks))


class Trunk(ResidualTrunk):
    """Residual discriminator without its head: a 3x3 convolution, blocks, ReLU and a sum over positions.

    Args (see `saddle.networks` for the others):
        width: channel multiplier; 128 in the paper.
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
        layers = biggan.plan(resolution, PLANS, "biggan_deep")
        widths = [multiple * width for multiple in layers.discriminator]

        def block(index: int, inputs: int, outputs: int) -> DiscriminatorBlock:
            return DiscriminatorBlock(inputs, outputs, index % 2 == 0 and index // 2 < layers.down, norm)

        place = 2 * doublings(layers.attention, resolution) - 1 if attention else None
        from_image = weight_norm(norm, nn.Conv2d(channels, widths[0], 3, padding=1))
        super().__init__(Blocks(twice(widths)[1:], block, place, norm), init, from_image)
