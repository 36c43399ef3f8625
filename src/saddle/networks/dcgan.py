"""The convolutional networks of DCGAN (Radford et al. 2016), for any resolution that is a power of two.

Channels double as the resolution halves: at 32 pixels G goes 4x4 of 4 width, 8x8 of 2 width, 16x16 of width, 32x32
image, and D mirrors it. Kernels are 4x4 with stride 2: unlike the paper's 5x5 they cover every pixel equally often, so
they leave no checkerboard (Odena et al. 2016).
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.activations import ACTIVATIONS
from saddle.networks.blocks import Condition, Conditioned, class_norm
from saddle.networks.init import initialise
from saddle.networks.norm import activation_norm, weight_norm


def stages(resolution: int) -> int:
    """How often the resolution halves down to 4x4."""
    return resolution.bit_length() - 3


class Generator(nn.Module):
    """Latents [B, latent_dim] and labels [B] to images [B, channels, resolution, resolution] in [-1, 1].

    Args:
        latent_dim: length of a latent vector.
        width: channels of the last hidden layer.
        resolution: a power of two, 8 at least.
        channels: of the image.
        classes: number of classes; 0 without labels.
        conditioning: "none" ignores the labels, "concat" appends a one-hot label to the latent (Mirza and Osindero
            2014), "batch_norm" gives every batch norm a gain and a bias per class.
        norm: weight norm, spectral or none.
        init: a name known to `initialise`.
        activation: of the hidden layers, a name in `saddle.networks.activations.ACTIVATIONS`.
        batch_norm: batch norm before each activation.
        constant: all hidden layers have `width` channels, instead of doubling as the resolution halves.

    Raises:
        InputError: for a conditioning without classes, or without the batch norm that it acts on.
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
        init: str = "normal02",
        activation: str = "relu",
        batch_norm: bool = True,
        constant: bool = False,
    ):
        super().__init__()
        if conditioning == "batch_norm" and not batch_norm:
            raise InputError("model.g_conditioning=batch_norm needs model.generator.batch_norm=true; or choose concat")
        self.latent_dim = latent_dim
        self.condition = Condition(conditioning, classes)
        per_class = self.condition.classes_in_norm
        make, doubled = ACTIVATIONS[activation]
        widths = [width if constant else width * 2**i for i in reversed(range(stages(resolution)))]
        inputs = latent_dim + self.condition.length
        # a transposed convolution of a 1x1 map is a linear layer, which is three times as fast on a CPU
        first = widths[0] * doubled
        linear = weight_norm(norm, nn.Linear(inputs, first * 16, bias=not batch_norm))
        layers: list[nn.Module] = [linear, nn.Unflatten(1, (first, 4, 4))]
        layers += [class_norm(first, per_class)] if batch_norm else []
        layers.append(make())
        for before, after in itertools.pairwise(widths):
            after *= doubled
            layers.append(weight_norm(norm, nn.ConvTranspose2d(before, after, 4, 2, 1, bias=not batch_norm)))
            layers += [class_norm(after, per_class)] if batch_norm else []
            layers.append(make())
        layers += [weight_norm(norm, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1)), nn.Tanh()]
        self.layers = Conditioned(*layers)
        initialise(self, init)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images of `latents` under `labels`."""
        x = self.condition(latents, labels)
        return self.layers(x, labels)


class Trunk(nn.Module):
    """Images [B, channels, resolution, resolution] to features [B, 16 * width * 2^(stages - 1)], the 4x4 map flattened.

    Args:
        width: channels of the first layer.
        resolution: a power of two, 8 at least.
        channels: of the image.
        norm: of the hidden layers: batch, layer, instance, spectral (of the weights) or none. The first layer has no
            activation norm, as in the paper.
        init: a name known to `initialise`.
        activation: a name in `saddle.networks.activations.ACTIVATIONS`.
    """

    def __init__(
        self,
        width: int,
        resolution: int,
        channels: int,
        norm: str = "batch",
        init: str = "normal02",
        activation: str = "leaky_relu",
    ):
        super().__init__()
        make, doubled = ACTIVATIONS[activation]
        n = stages(resolution)
        self.features = 16 * width * 2 ** (n - 1)
        self.independent = norm != "batch"
        layers: list[nn.Module] = [weight_norm(norm, nn.Conv2d(channels, width * doubled, 4, 2, 1)), make()]
        for i in range(1, n):
            before, after = width * 2 ** (i - 1), width * 2**i * doubled
            bias = norm in ("spectral", "none")  # an activation norm has one
            convolution = weight_norm(norm, nn.Conv2d(before, after, 4, 2, 1, bias=bias))
            layers += [convolution, activation_norm(norm, after), make()]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Features of `images`."""
        return self.layers(images)
