"""Progressive growing of GANs (Karras et al. 2018, table 2 and appendix A.1).

Both networks grow by stages: at stage s they work on images of 4 * 2^s pixels. While a new stage fades in, G's image is
(1 - alpha) times that of the stage before, enlarged, plus alpha times its own, and D's features are blended likewise;
alpha goes from 0 to 1. Whoever trains calls `grow(stage, alpha)` on both networks; they start fully grown. Outside, an
image always has the full size: G enlarges by nearest neighbours, D averages down.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.equalised import HE, EqualisedConv2d, EqualisedLinear, MinibatchStd, PixelNorm, pixel_norm
from saddle.networks.resample import TENT, Blur

Grown = tuple[int, float]  # stage and alpha


def sizes(resolution: int) -> list[int]:
    """4, 8, ... up to the resolution.

    Raises:
        InputError: where the resolution is no power of two, or below 8.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise InputError(f"data.resolution={resolution}: growing networks need a power of two, 8 or more")
    return [4 * 2**stage for stage in range(resolution.bit_length() - 2)]


def channels_at(size: int, resolution: int, width: int, max_width: int) -> int:
    """Channels of the layers at `size` pixels: `width` at the full resolution, doubling as the size halves."""
    return min(width * resolution // size, max_width)


class Growing(nn.Module):
    """A network of stages. Stage and alpha are buffers, so a checkpoint holds them and the average of G copies them.

    Args:
        stages: how many there are; the network starts at the last, with alpha 1.
    """

    stage: Tensor
    alpha: Tensor

    def __init__(self, stages: int):
        super().__init__()
        self.stages = stages
        self.register_buffer("stage", torch.tensor(stages - 1))
        self.register_buffer("alpha", torch.tensor(1.0))

    @torch.no_grad()
    def grow(self, stage: int, alpha: float = 1.0) -> None:
        """Work at stage number `stage` (from 0), whose own layers have the weight `alpha` in [0, 1]."""
        if not 0 <= stage < self.stages or not 0 <= alpha <= 1:
            raise ValueError(f"stage {stage}, alpha {alpha}: give a stage in 0 to {self.stages - 1}, alpha in [0, 1]")
        self.stage.fill_(stage)
        self.alpha.fill_(alpha)

    @property
    def grown(self) -> Grown:
        """Stage and alpha as numbers; the first stage has nothing to fade from. On a GPU this waits for the device."""
        if self.stage.is_meta:
            return self.stages - 1, 1.0
        stage = int(self.stage)
        return stage, float(self.alpha) if stage else 1.0

    @property
    def native(self) -> int:
        """The side in pixels of the images at this stage."""
        return 4 * 2 ** self.grown[0]


def enlarge(images: Tensor, size: int) -> Tensor:
    """Nearest neighbour enlargement to [B, C, size, size], size a multiple of the side."""
    return images if images.shape[-1] == size else F.interpolate(images, scale_factor=float(size // images.shape[-1]))


def shrink(images: Tensor, size: int) -> Tensor:
    """Averages of equal squares: [B, C, H, H] -> [B, C, size, size], H a multiple of `size`."""
    return images if images.shape[-1] == size else F.avg_pool2d(images, images.shape[-1] // size)


def fade(images: Tensor, stage: int, alpha: float) -> Tensor:
    """Real images as G could make them at this stage: without the detail that its stages cannot show yet.

    Args:
        images: [B, C, H, H], H the full resolution.
        stage, alpha: as for `Growing.grow`.

    Returns:
        Images of the same size: averages over the pixels of the stage, blended with those of the stage before.
    """
    size = images.shape[-1]
    native = shrink(images, 4 * 2**stage)
    if stage and alpha < 1:
        native = enlarge(shrink(native, native.shape[-1] // 2), native.shape[-1]).lerp(native, alpha)
    return enlarge(native, size)


class Start(nn.Module):
    """A linear layer to 4x4 maps with one bias per channel, LeakyReLU, pixel norm."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        # the paper's 4x4 convolution of one pixel: the 16 positions count towards the fan-in
        self.linear = EqualisedLinear(inputs, 16 * outputs, gain=HE / 4, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs, 4, 4]."""
        return pixel_norm(F.leaky_relu(self.linear(x).unflatten(1, (-1, 4, 4)) + self.bias, 0.2))


class Generator(Growing):
    """Latents, put on a hypersphere, to images in about [-1, 1] (no tanh at the end).

    Args:
        latent_dim: length of a latent; 512 in the paper.
        width: channels at the full resolution; 16 at 1024 pixels in the paper.
        resolution: a power of two, 8 at least.
        channels: of the image.
        max_width: channels at the small sizes; 512 in the paper.
        classes: append the label as a one-hot vector to the latent; 0: ignore labels.
    """

    def __init__(
        self, latent_dim: int, width: int, resolution: int, channels: int, max_width: int = 512, classes: int = 0
    ):
        super().__init__(len(sizes(resolution)))
        self.latent_dim, self.resolution, self.classes = latent_dim, resolution, classes
        widths = [channels_at(size, resolution, width, max_width) for size in sizes(resolution)]
        first = nn.Sequential(Start(latent_dim + classes, widths[0]), *_layer(widths[0], widths[0]))
        self.blocks = nn.ModuleList([first])
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            self.blocks.append(nn.Sequential(*_layer(before, after, up=True), *_layer(after, after)))
        self.to_image = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths)

    def render(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images of the current stage's own size."""
        stage, alpha = self.grown
        if self.classes:
            latents = torch.cat([latents, F.one_hot(labels, self.classes).to(latents)], 1)
        before, x = None, pixel_norm(latents)
        for block in self.blocks[: stage + 1]:
            before, x = x, block(x)
        images = self.to_image[stage](x)
        if alpha < 1:
            images = enlarge(self.to_image[stage - 1](before), images.shape[-1]).lerp(images, alpha)
        return images

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, resolution, resolution]."""
        return enlarge(self.render(latents, labels), self.resolution)


def _layer(inputs: int, outputs: int, up: bool = False) -> list[nn.Module]:
    convolution = EqualisedConv2d(inputs, outputs, 3, HE, "up" if up else "none")
    return [convolution, nn.LeakyReLU(0.2), PixelNorm()]


class Trunk(Growing):
    """The mirror image of G: features [B, F] of images, without the last linear layer.

    Args:
        width: channels at the full resolution.
        resolution: a power of two, 8 at least.
        channels: of the image.
        max_width: channels at the small sizes.
        group: samples in a group of the minibatch standard deviation; 4 in the paper.
        blur: low-pass filter before each halving, as in StyleGAN.

    Attributes:
        features: F.
        independent: False, because of the minibatch standard deviation.
    """

    def __init__(
        self, width: int, resolution: int, channels: int, max_width: int = 512, group: int = 4, blur: bool = False
    ):
        super().__init__(len(sizes(resolution)))
        widths = [channels_at(size, resolution, width, max_width) for size in sizes(resolution)]
        self.features, self.independent = channels_at(2, resolution, width, max_width), False
        self.from_image = nn.ModuleList(
            nn.Sequential(EqualisedConv2d(channels, width, 1, HE), nn.LeakyReLU(0.2)) for width in widths
        )
        last = nn.Sequential(
            MinibatchStd(group),
            EqualisedConv2d(widths[0] + 1, widths[0], 3, HE),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            EqualisedLinear(16 * widths[0], self.features, HE),
            nn.LeakyReLU(0.2),
        )
        self.blocks = nn.ModuleList([last])  # by stage: the block of stage s ends at the size of stage s - 1
        for after, before in zip(widths[:-1], widths[1:], strict=True):
            self.blocks.append(
                nn.Sequential(
                    EqualisedConv2d(before, before, 3, HE),
                    nn.LeakyReLU(0.2),
                    Blur(TENT) if blur else nn.Identity(),
                    EqualisedConv2d(before, after, 3, HE, "down"),
                    nn.LeakyReLU(0.2),
                )
            )

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, H], H the full resolution (or the current stage's size) -> features [B, F]."""
        stage, alpha = self.grown
        images = shrink(images, self.native)
        x = self.from_image[stage](images)
        for index in range(stage, 0, -1):
            x = self.blocks[index](x)
            if index == stage and alpha < 1:
                x = self.from_image[stage - 1](shrink(images, images.shape[-1] // 2)).lerp(x, alpha)
        return self.blocks[0](x)
