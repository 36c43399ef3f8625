"""The networks of BEGAN (Berthelot et al. 2017): 3x3 convolutions, ELU and no normalisation.

Two convolutions at each size from 8x8 to the image's. The generator and the decoder of the discriminator have the same
architecture; the encoder widens by one width at each size. Without the paper's optional skip connections. Resolutions
are powers of two, 8 at least; `norm` is none in the paper.
"""

from __future__ import annotations

from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.base import Condition, LayeredTrunk
from saddle.networks.init import initialise
from saddle.networks.norm import activation_norm, weight_norm
from saddle.precision import at_least_float32

SMALLEST = 8  # pixels of a side of the smallest map


def sizes(resolution: int) -> int:
    """How many sizes there are from 8x8 to the image's, each twice the one before.

    Raises:
        InputError: for a resolution that is not 8, 16, 32, ...
    """
    if resolution < SMALLEST or resolution & (resolution - 1):
        raise InputError(f"data.resolution={resolution}: BEGAN's networks need a power of two of at least {SMALLEST}")
    return resolution.bit_length() - SMALLEST.bit_length() + 1


def convolution(inputs: int, outputs: int, norm: str, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution, its norm and an ELU."""
    layer = weight_norm(norm, nn.Conv2d(inputs, outputs, 3, stride, 1))
    return [layer, activation_norm(norm, outputs), nn.ELU()]


class Decoder(nn.Module):
    """Features to images, without bounds.

    Args (see `saddle.networks` for the others):
        features: F, 64 in the paper.
        width: n, the channels of all hidden layers; 64 or 128 in the paper.
        norm: of the hidden layers, any.
    """

    def __init__(
        self, features: int, width: int, resolution: int, channels: int, norm: str = "none", init: str = "xavier"
    ):
        super().__init__()
        first = weight_norm(norm, nn.Linear(features, width * SMALLEST**2))
        layers: list[nn.Module] = [first, nn.Unflatten(1, (width, SMALLEST, SMALLEST))]
        for i in range(sizes(resolution)):
            layers += [nn.Upsample(scale_factor=2.0, mode="nearest")] if i else []
            layers += convolution(width, width, norm) + convolution(width, width, norm)
        layers.append(weight_norm(norm, nn.Conv2d(width, channels, 3, padding=1)))
        self.layers = initialise(nn.Sequential(*layers), init)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, F] -> images [B, C, H, W], in at least float32."""
        return at_least_float32(self.layers(features))


class Generator(nn.Module):
    """The decoder of a latent, uniform in [-1, 1]^64 in the paper. Its images near [-1, 1] by training alone.

    Args: see `saddle.networks`; `norm` as for `Decoder`.
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        classes: int = 0,
        conditioning: str = "none",
        norm: str = "none",
        init: str = "xavier",
    ):
        super().__init__()
        self.condition = Condition(conditioning, classes)
        self.decoder = Decoder(latent_dim + self.condition.length, width, resolution, channels, norm, init)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W]."""
        return self.decoder(self.condition(latents, labels))


class Trunk(LayeredTrunk):
    """The encoder: convolutions of stride 2 down to 8x8, a linear layer to the code.

    Args (see `saddle.networks` for the others):
        width: n; the i-th size from the image's down to 8x8 has i n channels.
        code: F, 64 in the paper.
    """

    def __init__(
        self, width: int, resolution: int, channels: int, norm: str = "none", init: str = "xavier", code: int = 64
    ):
        layers = convolution(channels, width, norm)
        for i in range(sizes(resolution)):
            before, after = max(i, 1) * width, (i + 1) * width
            layers += convolution(before, before, norm, stride=2) if i else []
            layers += convolution(before, after, norm) + convolution(after, after, norm)
        layers += [nn.Flatten(), weight_norm(norm, nn.Linear(after * SMALLEST**2, code))]
        super().__init__(layers, code, norm, init)
