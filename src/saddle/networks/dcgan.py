"""The convolutional networks of DCGAN (Radford et al. 2016), for any resolution that is a power of two.

Channels double as the resolution halves: at 32 pixels G goes 4x4 of 4 width, 8x8 of 2 width, 16x16 of width, 32x32
image, and D mirrors it. Kernels are 4x4 with stride 2: unlike the paper's 5x5 they cover every pixel equally often, so
they leave no checkerboard (Odena et al. 2016).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import nn

from saddle.errors import InputError
from saddle.networks.activations import ACTIVATIONS
from saddle.networks.base import Condition, LayeredGenerator, LayeredTrunk
from saddle.networks.norm import activation_norm, class_norm, weight_norm


def stages(resolution: int) -> int:
    """How often the resolution halves down to 4x4."""
    return resolution.bit_length() - 3


def doubling(
    inputs: int,
    widths: list[int],
    channels: int,
    norm: str,
    bias: bool,
    between: Callable[[int], list[nn.Module]],
    gate: int = 1,
) -> list[nn.Module]:
    """A linear layer to a 4x4 map, then transposed convolutions that double the size, the last one to the image.

    Args:
        widths: channels that each transposed convolution reads.
        bias: of all layers but the last, which always has one.
        between: what follows each layer but the last, made for so many channels; it turns `gate` of them into one.
    """
    # a transposed convolution of a 1x1 map is a linear layer, which is three times as fast on a CPU
    first = widths[0] * gate
    linear = weight_norm(norm, nn.Linear(inputs, first * 16, bias=bias))
    layers: list[nn.Module] = [linear, nn.Unflatten(1, (first, 4, 4)), *between(first)]
    for before, after in itertools.pairwise(widths):
        convolution = nn.ConvTranspose2d(before, after * gate, 4, 2, 1, bias=bias)
        layers += [weight_norm(norm, convolution), *between(after * gate)]
    return [*layers, weight_norm(norm, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1))]


class Generator(LayeredGenerator):
    """A linear layer to a 4x4 map, then transposed convolutions that double the size.

    Args (see `saddle.networks` for the others):
        width: channels of the last hidden layer.
        resolution: a power of two, 8 at least.
        activation: of the hidden layers, a name in `saddle.networks.activations.ACTIVATIONS`.
        batch_norm: batch norm before each activation.
        constant: all hidden layers have `width` channels, instead of doubling as the resolution halves.

    Raises:
        InputError: for a conditioning by the batch norm where there is none.
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
        if conditioning == "batch_norm" and not batch_norm:
            raise InputError("model.g_conditioning=batch_norm needs model.generator.batch_norm=true; or choose concat")
        condition = Condition(conditioning, classes)
        make, gate = ACTIVATIONS[activation]
        widths = [width if constant else width * 2**i for i in reversed(range(stages(resolution)))]

        def activated(outputs: int) -> list[nn.Module]:
            return [*([class_norm(outputs, condition.classes_in_norm)] if batch_norm else []), make()]

        inputs = latent_dim + condition.length
        layers = doubling(inputs, widths, channels, norm, not batch_norm, activated, gate)
        super().__init__(condition, layers, init)


class Trunk(LayeredTrunk):
    """Convolutions that halve the size to a 4x4 map, flattened: F = 16 * width * 2^(stages - 1).

    Args (see `saddle.networks` for the others):
        width: channels of the first layer, which has no norm of activations, as in the paper.
        resolution: a power of two, 8 at least.
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
        make, doubled = ACTIVATIONS[activation]
        widths = [width * 2**i for i in range(stages(resolution))]
        layers: list[nn.Module] = [weight_norm(norm, nn.Conv2d(channels, width * doubled, 4, 2, 1)), make()]
        for before, after in itertools.pairwise(widths):
            after *= doubled
            bias = norm in ("spectral", "none")  # an activation norm has one
            convolution = weight_norm(norm, nn.Conv2d(before, after, 4, 2, 1, bias=bias))
            layers += [convolution, activation_norm(norm, after), make()]
        super().__init__([*layers, nn.Flatten()], 16 * widths[-1], norm, init)
