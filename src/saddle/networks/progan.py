"""Progressive growing of GANs (Karras et al. 2018, table 2 and appendix A.1).

Both networks grow by stages: at stage s they work on images of 4 * 2^s pixels. While a new stage fades in, G's image is
(1 - alpha) times that of the stage before, enlarged, plus alpha times its own, and D's features are blended likewise;
alpha goes from 0 to 1. Whoever trains calls `grow(stage, alpha)` on both networks; they start fully grown. Outside, an
image always has the full size: G enlarges by nearest neighbours, D averages down.

`width` is the number of channels at the full resolution, which is a power of two of at least 8; the number doubles at
each half of the size up to `max_width`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.equalised import HE, EqualisedConv2d, EqualisedLinear, MinibatchStd, PixelNorm, pixel_norm
from saddle.networks.resample import TENT, Blur
from saddle.precision import at_least_float32


def sizes(resolution: int) -> list[int]:
    """4, 8, ... up to the resolution.

    Raises:
        InputError: where the resolution is no power of two, or below 8.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise InputError(f"data.resolution={resolution}: growing networks need a power of two, 8 or more")
    return [4 * 2**stage for stage in range(resolution.bit_length() - 2)]


def widths_of(resolution: int, width: int, max_width: int) -> list[int]:
    """The channels at 4, 8, ... pixels up to the resolution, where they are `width`; twice as many at half the size."""
    return [min(width * resolution // size, max_width) for size in sizes(resolution)]


class Growing(nn.Module):
    """A network of stages. Stage and alpha are plain numbers, which nobody waits for, and part of the state dict.

    They are the trainer's business: whoever grows a network grows its moving average too.

    Args:
        stages: how many there are.

    Attributes:
        stage: the present one, from 0; at first the last.
        alpha: the weight of its own layers in [0, 1].
    """

    def __init__(self, stages: int):
        super().__init__()
        self.stages, self.stage, self.alpha = stages, stages - 1, 1.0

    def grow(self, stage: int, alpha: float = 1.0) -> None:
        """Work at a stage, with a weight of its own layers; 1 at the first stage, which has nothing to fade from."""
        if not 0 <= stage < self.stages or not 0 <= alpha <= 1:
            raise ValueError(f"stage {stage}, alpha {alpha}: give a stage in 0 to {self.stages - 1}, alpha in [0, 1]")
        self.stage, self.alpha = stage, alpha if stage else 1.0

    @property
    def grown(self) -> tuple[int, float]:
        """Stage and alpha."""
        return self.stage, self.alpha

    def get_extra_state(self) -> Tensor:
        """Stage and alpha for the state dict, float64 [2] on the CPU, as a state dict holds tensors."""
        return torch.tensor(self.grown, dtype=torch.float64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the stage and alpha of a state dict."""
        stage, alpha = state.tolist()
        self.grow(int(stage), alpha)


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


class GrowingImages(Growing):
    """A growing network that ends in images: each stage has a 1x1 convolution of its own to them."""

    to_image: nn.ModuleList
    resolution: int

    def images(self, before: Tensor | None, x: Tensor) -> Tensor:
        """Images [B, C, resolution, resolution], in at least float32.

        Args:
            before: the last map of the stage before; read only while the stage fades in.
            x: the last map of the stage.
        """
        images = at_least_float32(self.to_image[self.stage](x))
        if self.alpha < 1:
            faded = at_least_float32(self.to_image[self.stage - 1](before))
            images = enlarge(faded, images.shape[-1]).lerp(images, self.alpha)
        return enlarge(images, self.resolution)


class Generator(GrowingImages):
    """Latents, put on a hypersphere, to images in about [-1, 1] (no tanh at the end).

    Args (see `saddle.networks` for the others):
        latent_dim: 512 in the paper.
        width: 16 at 1024 pixels in the paper.
        max_width: 512 in the paper.
        classes: append the label as a one-hot vector to the latent; 0: ignore labels.
    """

    def __init__(
        self, latent_dim: int, width: int, resolution: int, channels: int, max_width: int = 512, classes: int = 0
    ):
        super().__init__(len(sizes(resolution)))
        self.resolution, self.classes = resolution, classes
        widths = widths_of(resolution, width, max_width)
        first = nn.Sequential(Start(latent_dim + classes, widths[0]), *_layer(widths[0], widths[0]))
        self.blocks = nn.ModuleList([first])
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            self.blocks.append(nn.Sequential(*_layer(before, after, up=True), *_layer(after, after)))
        self.to_image = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, resolution, resolution]."""
        if self.classes:
            latents = torch.cat([latents, F.one_hot(labels, self.classes).to(latents)], 1)
        before, x = None, pixel_norm(latents)
        for block in self.blocks[: self.stage + 1]:
            before, x = x, block(x)
        return self.images(before, x)


def _layer(inputs: int, outputs: int, up: bool = False) -> list[nn.Module]:
    convolution = EqualisedConv2d(inputs, outputs, 3, HE, "up" if up else "none")
    return [convolution, nn.LeakyReLU(0.2), PixelNorm()]


class Trunk(Growing):
    """The mirror image of G: features [B, F] of images, without the last linear layer.

    Args (see `saddle.networks` for the others):
        group: samples in a group of the minibatch standard deviation; 4 in the paper.

    Attributes:
        blurs: whether a low-pass filter precedes each halving, as in StyleGAN.
    """

    blurs: ClassVar[bool] = False

    def __init__(self, width: int, resolution: int, channels: int, max_width: int = 512, group: int = 4):
        super().__init__(len(sizes(resolution)))
        widths = widths_of(resolution, width, max_width)
        self.features, self.independent = min(2 * widths[0], max_width), False
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
                    Blur(TENT) if self.blurs else nn.Identity(),
                    EqualisedConv2d(before, after, 3, HE, "down"),
                    nn.LeakyReLU(0.2),
                )
            )

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, H], H the full resolution (or the current stage's size) -> features [B, F]."""
        images = shrink(images, 4 * 2**self.stage)
        x = self.from_image[self.stage](images)
        for index in range(self.stage, 0, -1):
            x = self.blocks[index](x)
            if index == self.stage and self.alpha < 1:
                x = self.from_image[index - 1](shrink(images, images.shape[-1] // 2)).lerp(x, self.alpha)
        return self.blocks[0](x)
