"""The networks of CycleGAN (Zhu, Park, Isola and Efros 2017): two translators between two domains, two PatchGANs.

Both domains travel in one tensor, the images of domain A on top of those of domain B: [B, C, 2H, W]. So the two
translators are one generator, from such a tensor to another one (on top what it made of B for A, below what it made of
A for B), and the two discriminators are one trunk. Every network here works on images of any height and width that are
multiples of 4.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.base import bounded_image
from saddle.networks.init import initialise
from saddle.networks.norm import activation_norm, weight_norm

Direction = Literal["a_to_b", "b_to_a"]
DIRECTIONS: tuple[Direction, Direction] = ("a_to_b", "b_to_a")


def stack(a: Tensor, b: Tensor) -> Tensor:
    """Images of domain A [B, C, H, W] on top of images of domain B: [B, C, 2H, W]."""
    return torch.cat([a, b], -2)


def unstack(images: Tensor) -> tuple[Tensor, Tensor]:
    """The images of domain A and of domain B in a stack [.., C, 2H, W]."""
    a, b = images.chunk(2, -2)
    return a, b


def norm_layer(name: str, channels: int) -> nn.Module:
    """The layer after a convolution: as `activation_norm`, but instance norm has no gain and bias.

    The authors' PyTorch code, whose numbers of parameters are the published ones, leaves them away; their Lua code had
    them (both from memory).
    """
    return nn.InstanceNorm2d(channels) if name == "instance" else activation_norm(name, channels)


def normed(norm: str, convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    """A convolution and the norm after it."""
    return [weight_norm(norm, convolution), norm_layer(norm, convolution.out_channels)]


class ResidualBlock(nn.Module):
    """x + two 3x3 convolutions of x, with mirrored borders, a norm after each and ReLU between them.

    Args:
        channels: of the input [B, channels, H, W] and of the output; H and W at least 2.
        norm: a name known to `norm_layer`.
    """

    def __init__(self, channels: int, norm: str):
        super().__init__()
        first, second = ([nn.ReflectionPad2d(1), *normed(norm, nn.Conv2d(channels, channels, 3))] for _ in range(2))
        self.layers = nn.Sequential(*first, nn.ReLU(inplace=True), *second)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return x + self.layers(x)


class Translator(nn.Module):
    """One direction: images [B, C, H, W] in [-1, 1] to images of the other domain (Zhu et al. 2017, section 7.2).

    c7s1-w, d2w, d4w, residual blocks of 4w, u2w, uw, c7s1-C and tanh, from Johnson et al. 2016. With width 64 and 9
    blocks it has 11,378,179 parameters for three channels.

    Args (see `saddle.networks` for the others):
        width: w.
        blocks: residual blocks; the paper has 6 for 128 pixels and 9 from 256 on.
        norm: of the hidden layers, any; instance in the paper.
    """

    def __init__(self, channels: int, width: int, blocks: int, norm: str = "instance", init: str = "normal02"):
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), *normed(norm, nn.Conv2d(channels, width, 7)), nn.ReLU(True)]
        for inputs in (width, 2 * width):
            layers += [*normed(norm, nn.Conv2d(inputs, 2 * inputs, 3, 2, 1)), nn.ReLU(inplace=True)]
        layers += [ResidualBlock(4 * width, norm) for _ in range(blocks)]
        for inputs in (4 * width, 2 * width):
            up = nn.ConvTranspose2d(inputs, inputs // 2, 3, 2, 1, output_padding=1)
            layers += [*normed(norm, up), nn.ReLU(inplace=True)]
        layers += [nn.ReflectionPad2d(3), weight_norm(norm, nn.Conv2d(width, channels, 7))]
        self.layers = nn.Sequential(*layers)
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> images of the other domain, same shape, in at least float32."""
        return bounded_image(self.layers(images))


class Generator(nn.Module):
    """Both translators: a stack [B, C, 2H, W] of images to the stack of their translations, A made of B on top.

    Applied twice it gives each image back, if the two translators are each other's inverse.

    Args (see `saddle.networks` for the others):
        width, blocks, norm, init: of each translator.
        resolution: a multiple of 4 of at least 8; only checked.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        blocks: int,
        norm: str = "instance",
        init: str = "normal02",
        resolution: int = 256,
    ):
        super().__init__()
        if resolution < 8 or resolution % 4:
            raise InputError(f"data.resolution={resolution}: CycleGAN's generators halve it twice; give 8, 12, 16, ...")
        self.a_to_b = Translator(channels, width, blocks, norm, init)
        self.b_to_a = Translator(channels, width, blocks, norm, init)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The translations of a stack; labels are not read."""
        a, b = unstack(images)
        return stack(self.b_to_a(b), self.a_to_b(a))


class PatchGAN(nn.Module):
    """Images [B, C, H, W] to a map of logits [B, 1, h, w], one for each patch (Isola et al. 2017).

    Convolutions 4x4: `layers` of stride 2, one of stride 1, one to the logit; LeakyReLU 0.2; no norm after the first
    layer. 1, 2, 3, 4 layers judge patches of 16, 34, 70, 142 pixels. With width 64, 3 layers and three channels there
    are 2,764,737 parameters.

    Args (see `saddle.networks` for the others):
        width: channels of the first layer; they double with each layer, up to 8 times.
        layers: convolutions of stride 2, at least 1.
    """

    def __init__(self, channels: int, width: int, layers: int = 3, norm: str = "instance", init: str = "normal02"):
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        first = weight_norm(norm, nn.Conv2d(channels, width, 4, 2, 1))
        parts: list[nn.Module] = [first, nn.LeakyReLU(0.2, inplace=True)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            parts += normed(norm, nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1))
            parts.append(nn.LeakyReLU(0.2, inplace=True))
        parts += [weight_norm(norm, nn.Conv2d(widths[-1], 1, 4, 1, 1))]
        self.layers = nn.Sequential(*parts)
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the patches."""
        return self.layers(images)


class Trunk(nn.Module):
    """Both PatchGANs: a stack [B, C, 2H, W] of images to the logits of its patches, [B, 2P], those of domain A first.

    Args (see `saddle.networks` for the others):
        width, layers, norm, init: of each PatchGAN.

    Raises:
        InputError: for images that are too small for so many layers.
    """

    def __init__(
        self, channels: int, width: int, layers: int, resolution: int, norm: str = "instance", init: str = "normal02"
    ):
        super().__init__()
        side = resolution // 2**layers - 2  # patches along a side of an image
        if layers < 1 or side < 1:
            raise InputError(
                f"model.trunk.layers={layers}: images of {resolution} pixels leave no patch; "
                f"choose 1 or more, of which {3 * 2**layers} pixels or more are left"
            )
        self.features = 2 * side**2
        self.independent = norm != "batch"
        self.a = PatchGAN(channels, width, layers, norm, init)
        self.b = PatchGAN(channels, width, layers, norm, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the patches of both domains."""
        a, b = unstack(images)
        return torch.cat([self.a(a).flatten(1), self.b(b).flatten(1)], 1)
