"""The convolutional networks of DCGAN (Radford et al. 2016), for any resolution that is a power of two.

Channels double as the resolution halves: at 32 pixels G goes 4x4 of 4 width, 8x8 of 2 width, 16x16 of width, 32x32
image, and D mirrors it. Kernels are 4x4 with stride 2: unlike the paper's 5x5 they cover every pixel equally often, so
they leave no checkerboard (Odena et al. 2016).
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, activation_norm, weight_norm


def stages(resolution: int) -> int:
    """How often the resolution halves down to 4x4."""
    return resolution.bit_length() - 3


class Generator(nn.Module):
    """Latents [B, latent_dim] to images [B, channels, resolution, resolution] in [-1, 1]; labels are ignored.

    Args:
        latent_dim: length of a latent vector.
        width: channels of the last hidden layer.
        resolution: a power of two, 8 at least.
        channels: of the image.
    """

    def __init__(self, latent_dim: int, width: int, resolution: int, channels: int, init: str = "normal02"):
        super().__init__()
        self.latent_dim = latent_dim
        n = stages(resolution)
        widths = [width * 2**i for i in reversed(range(n))]
        layers: list[nn.Module] = [
            # a transposed convolution of a 1x1 map is a linear layer, which is three times as fast on a CPU
            nn.Linear(latent_dim, widths[0] * 16, bias=False),
            nn.Unflatten(1, (widths[0], 4, 4)),
            BatchNorm(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), BatchNorm(after), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise(self, init)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images of `latents`."""
        return self.layers(latents)


class Trunk(nn.Module):
    """Images [B, channels, resolution, resolution] to features [B, 16 * width * 2^(stages - 1)], the 4x4 map flattened.

    Args:
        width: channels of the first layer.
        resolution: a power of two, 8 at least.
        channels: of the image.
        norm: of the hidden layers: batch, layer, instance, spectral (of the weights) or none. The first layer has no
            activation norm, as in the paper.
    """

    def __init__(self, width: int, resolution: int, channels: int, norm: str = "batch", init: str = "normal02"):
        super().__init__()
        n = stages(resolution)
        self.features = 16 * width * 2 ** (n - 1)
        self.independent = norm != "batch"
        layers: list[nn.Module] = [
            weight_norm(norm, nn.Conv2d(channels, width, 4, 2, 1)),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for i in range(1, n):
            before, after = width * 2 ** (i - 1), width * 2**i
            bias = norm in ("spectral", "none")  # an activation norm has one
            convolution = weight_norm(norm, nn.Conv2d(before, after, 4, 2, 1, bias=bias))
            layers += [convolution, activation_norm(norm, after), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Features of `images`."""
        return self.layers(images)
