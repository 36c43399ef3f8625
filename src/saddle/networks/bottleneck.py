"""Very deep residual networks of bottleneck blocks: the 101-layer pair of WGAN-GP's study of robustness.

Gulrajani et al. 2017, section 5 and gan_64x64.py of the released code, there for 64 pixels. A block is three
convolutions; the layers that are counted are those of the blocks, the first and the last. At 64 pixels the channels and
the number of blocks of each size are the published ones; other sizes share the blocks out evenly.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.base import Condition, LayeredGenerator, LayeredTrunk, bounded_image
from saddle.networks.blocks import Resample
from saddle.networks.dcgan import stages
from saddle.networks.norm import activation_norm, weight_norm


def plan(layers: int, width: int, resolution: int) -> list[tuple[int, int]]:
    """Channels and number of plain blocks of each size, from 4x4 up; a resampling block lies between two sizes.

    Raises:
        InputError: if there is no network of so many layers.
    """
    sizes = stages(resolution) + 1
    blocks, rest = divmod(layers - 2, 3)
    plain = blocks - (sizes - 1)
    if rest or plain < 0:
        least = 3 * (sizes - 1) + 2
        raise InputError(f"layers={layers}: a network of bottlenecks has {least}, {least + 3}, {least + 6}, ... layers")
    if width % 2:
        raise InputError(f"model.width={width}: a network of bottlenecks needs an even width")
    channels = [width // 2 * 2**i for i in reversed(range(sizes))]
    return [(c, plain // sizes + (i < plain % sizes)) for i, c in enumerate(channels)]


class Bottleneck(nn.Module):
    """x + 0.3 N(c1(ReLU(c3(ReLU(c1(ReLU(x))))))), with half of the channels in the middle.

    Args:
        resample: up or down, by the 3x3 convolution; the shortcut is then a 1x1 convolution.
        norm: N, or of the weights.
    """

    def __init__(self, inputs: int, outputs: int, resample: Resample = "none", norm: str = "batch"):
        super().__init__()
        before, after = max(1, inputs // 2), max(1, outputs // 2)
        stride = 1 if resample == "none" else 2
        middle: nn.Module = nn.Conv2d(before, after, 3, stride, 1)
        shortcut: nn.Module = nn.Identity()
        if resample == "up":
            middle = nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1)
            shortcut = nn.Sequential(weight_norm(norm, nn.Conv2d(inputs, 4 * outputs, 1)), nn.PixelShuffle(2))
        elif resample == "down" or inputs != outputs:
            shortcut = weight_norm(norm, nn.Conv2d(inputs, outputs, 1, stride))
        self.shortcut = shortcut
        self.squeeze = weight_norm(norm, nn.Conv2d(inputs, before, 1))
        self.middle = weight_norm(norm, middle)
        self.expand = weight_norm(norm, nn.Conv2d(after, outputs, 1, bias=norm in ("spectral", "none")))
        self.norm = activation_norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W], twice or half that size where it resamples."""
        h = self.middle(F.relu(self.squeeze(F.relu(x))))
        return self.shortcut(x) + 0.3 * self.norm(self.expand(F.relu(h)))


class Generator(LayeredGenerator):
    """A linear layer to a 4x4 map, blocks, a 1x1 convolution; tanh of a fifth of it, as in the released code.

    Args (see `saddle.networks` for the others):
        width: channels at half the resolution; half of it at the full one; even.
        resolution: a power of two, 8 at least.
        layers: in all: two more than a multiple of three.
        batch_norm: batch norm at the end of each block; excludes a spectral `norm`.

    Raises:
        InputError: for a number of layers or a width that cannot be.
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        layers: int = 101,
        batch_norm: bool = True,
        classes: int = 0,
        conditioning: str = "none",
        norm: str = "none",
        init: str = "xavier",
    ):
        if batch_norm and norm != "none":
            raise InputError(f"model.g_norm={norm}: give model.generator.batch_norm=false too")
        block_norm = "batch" if batch_norm else norm
        condition = Condition(conditioning, classes)
        sizes = plan(layers, width, resolution)
        first, last = sizes[0][0], sizes[-1][0]
        linear = weight_norm(norm, nn.Linear(latent_dim + condition.length, 16 * first))
        parts: list[nn.Module] = [linear, nn.Unflatten(1, (first, 4, 4))]
        for i, (now, blocks) in enumerate(sizes):
            parts += [Bottleneck(sizes[i - 1][0], now, "up", block_norm)] if i else []
            parts += [Bottleneck(now, now, norm=block_norm) for _ in range(blocks)]
        parts.append(weight_norm(norm, nn.Conv2d(last, channels, 1)))
        super().__init__(condition, parts, init, end=lambda x: bounded_image(x / 5))


class Trunk(LayeredTrunk):
    """G's mirror image: the 4x4 map, flattened; a fifth of it, as the released code divides the logit.

    Args (see `saddle.networks` for the others):
        width: channels at half the resolution, even.
        resolution: a power of two, 8 at least.
        layers: in all, the head's linear layer included.
        norm: at the end of each block.

    Raises:
        InputError: for a number of layers or a width that cannot be.
    """

    def __init__(
        self, width: int, resolution: int, channels: int, layers: int = 101, norm: str = "batch", init: str = "xavier"
    ):
        sizes = plan(layers, width, resolution)
        parts: list[nn.Module] = [weight_norm(norm, nn.Conv2d(channels, sizes[-1][0], 1))]
        for i, (now, blocks) in reversed([*enumerate(sizes)]):
            parts += [Bottleneck(now, now, norm=norm) for _ in range(blocks)]
            parts += [Bottleneck(now, sizes[i - 1][0], "down", norm)] if i else []
        super().__init__([*parts, nn.Flatten()], 16 * sizes[0][0], norm, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        return super().forward(images) / 5
