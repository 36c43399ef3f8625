"""BigGAN-deep (Brock, Donahue and Simonyan 2019, appendix B, tables 7 to 9): bottleneck blocks, two per size.

Shortcuts keep the channels they can: G drops the last ones, D appends new ones. All conditional norms read the whole
latent and the class embedding. 128 to 512 pixels follow the paper (512: G alone is given there, D mirrors it); 32 and
64 pixels have the channels of BigGAN-PyTorch and self-attention where `saddle.networks.biggan` has it.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks import biggan
from saddle.networks.biggan import EMBEDDING
from saddle.networks.blocks import ConditionalBatchNorm, Conv3x3, SelfAttention
from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, activation_norm, weight_norm

RATIO = 4  # channels of a block over those of its 3x3 convolutions


#: Those of BigGAN but at 32 pixels. Read "pair of blocks" for "block"; D's first number is of its first convolution.
PLANS = biggan.PLANS | {32: biggan.Plan((4, 4, 4, 4), (4, 4, 4, 4), 2, 16)}


class GeneratorBlock(nn.Module):
    """Four times cBN, ReLU, convolution: 1x1 to C/4, 3x3 (after upsampling), 3x3, 1x1; shortcut: first channels, up.

    Args:
        inputs: channels in, C.
        outputs: channels out, `inputs` at most.
        condition: length of the condition.
        up: double the size.
        norm: weight norm, spectral or none.
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
        inputs: channels in.
        outputs: channels out, C, `inputs` at least.
        down: halve the size.
        norm: one of `saddle.networks.norm.NORMS`.
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


class Generator(nn.Module):
    """Residual generator; latent and class embedding, joined, enter the first layer and every batch norm.

    Args:
        latent_dim: length of the latent; 128 in the paper.
        width: channel multiplier; 128 in the paper.
        resolution: 32, 64, 128, 256 or 512.
        channels: channels of the image.
        classes: number of classes.
        attention: self-attention at the published size.
        norm: weight norm, spectral or none.
        init: a name known to `initialise`.

    Raises:
        InputError: for an unsupported resolution, or data without classes.
    """

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
        super().__init__()
        if classes < 1:
            raise InputError("model=biggan_deep needs data with labels; choose such data, or model=dcgan")
        layers = biggan.plan(resolution, PLANS, "biggan_deep")
        sizes = [multiple * width for multiple in layers.generator]
        condition = latent_dim + EMBEDDING
        self.latent_dim = latent_dim
        self.embedding = nn.Embedding(classes, EMBEDDING)
        self.linear = weight_norm(norm, nn.Linear(condition, 16 * sizes[0]))
        self.blocks = nn.ModuleList()
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            self.blocks.append(GeneratorBlock(inputs, inputs, condition, up=False, norm=norm))
            self.blocks.append(GeneratorBlock(inputs, outputs, condition, up=True, norm=norm))
        pairs = (layers.attention // 4).bit_length() - 1  # pair i ends at size 4 * 2**(i + 1)
        self.attend_after = 2 * pairs - 1
        self.attention: nn.Module = SelfAttention(sizes[pairs], norm) if attention else nn.Identity()
        self.norm = BatchNorm(sizes[-1])
        self.to_image = weight_norm(norm, nn.Conv2d(sizes[-1], channels, 3, padding=1))
        initialise(self, init)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W] in [-1, 1]."""
        condition = torch.cat([latents, self.embedding(labels).to(latents.dtype)], 1)
        x = self.linear(condition).unflatten(1, (-1, 4, 4))
        for index, block in enumerate(self.blocks):
            x = block(x, condition)
            if index == self.attend_after:
                x = self.attention(x)
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


class Trunk(nn.Module):
    """Residual discriminator without its head: ReLU and a sum over positions at the end.

    Args:
        width: channel multiplier; 128 in the paper.
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
        layers = biggan.plan(resolution, PLANS, "biggan_deep")
        sizes = [multiple * width for multiple in layers.discriminator]
        self.features, self.independent = sizes[-1], norm != "batch"
        self.from_image = weight_norm(norm, nn.Conv2d(channels, sizes[0], 3, padding=1))
        self.blocks = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            self.blocks.append(DiscriminatorBlock(inputs, outputs, index < layers.down, norm))
            self.blocks.append(DiscriminatorBlock(outputs, outputs, False, norm))
        pairs = (resolution // layers.attention).bit_length() - 1  # pair i ends at size resolution / 2**(i + 1)
        self.attend_after = 2 * pairs - 1
        self.attention: nn.Module = SelfAttention(sizes[pairs], norm) if attention else nn.Identity()
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        x = self.from_image(images)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.attend_after:
                x = self.attention(x)
        return F.relu(x).sum((2, 3))
