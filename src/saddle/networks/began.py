"""The networks of BEGAN (Berthelot et al. 2017): 3x3 convolutions, ELU and no normalisation.

Two convolutions at each size from 8x8 to the image's. The generator and the decoder of the discriminator have the same
architecture; the encoder widens by one width at each size. Without the paper's optional skip connections.
"""

from __future__ import annotations

from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.blocks import Condition
from saddle.networks.init import initialise
from saddle.networks.norm import activation_norm, weight_norm

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
    """A 3x3 convolution, its norm (none in the paper) and an ELU."""
    layer = weight_norm(norm, nn.Conv2d(inputs, outputs, 3, stride, 1))
    return [layer, activation_norm(norm, outputs), nn.ELU()]


class Decoder(nn.Module):
    """Features [B, F] to images [B, channels, resolution, resolution], without bounds.

    Args:
        features: F, 64 in the paper.
        width: n, the channels of all hidden layers; 64 or 128 in the paper.
        resolution: a power of two, 8 at least.
        channels: of the image.
        norm: of the hidden layers: batch, layer, instance, spectral (of the weights) or none, which is the paper's.
        init: a name known to `initialise`.

    Raises:
        InputError: for another resolution.
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
        """The image of `features`."""
        return self.layers(features)


class Generator(nn.Module):
    """Latents [B, latent_dim] and labels [B] to images [B, channels, resolution, resolution], without bounds.

    The paper's latents are uniform in [-1, 1]^64. The output is linear: it nears [-1, 1] by training alone.

    Args:
        latent_dim: length of a latent vector.
        width, resolution, channels, norm, init: as for `Decoder`.
        classes: number of classes; 0 without labels.
        conditioning: "none" ignores the labels, "concat" appends a one-hot label to the latent.

    Raises:
        InputError: for a conditioning without classes, or another resolution.
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
        self.latent_dim = latent_dim
        self.condition = Condition(conditioning, classes)
        inputs = latent_dim + self.condition.length
        self.decoder = Decoder(inputs, width, resolution, channels, norm, init)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images of `latents` under `labels`."""
        x = self.condition(latents, labels)
        return self.decoder(x)


class Trunk(nn.Module):
    """The encoder: images [B, channels, resolution, resolution] to features [B, code].

    Args:
        width: n; the i-th size from the image's down to 8x8 has i n channels.
        resolution: a power of two, 8 at least.
        channels: of the image.
        norm: of the hidden layers: batch, layer, instance, spectral (of the weights) or none, which is the paper's.
        init: a name known to `initialise`.
        code: F, 64 in the paper.

    Raises:
        InputError: for another resolution.
    """

    def __init__(
        self, width: int, resolution: int, channels: int, norm: str = "none", init: str = "xavier", code: int = 64
    ):
        super().__init__()
        self.features = code
        self.independent = norm != "batch"
        layers = convolution(channels, width, norm)
        for i in range(sizes(resolution)):
            before, after = max(i, 1) * width, (i + 1) * width
            layers += convolution(before, before, norm, stride=2) if i else []
            layers += convolution(before, after, norm) + convolution(after, after, norm)
        layers += [nn.Flatten(), weight_norm(norm, nn.Linear(after * SMALLEST**2, code))]
        self.layers = initialise(nn.Sequential(*layers), init)

    def forward(self, images: Tensor) -> Tensor:
        """The codes of `images`."""
        return self.layers(images)
