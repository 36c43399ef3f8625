"""Networks of linear layers: those of the first GAN (Goodfellow et al. 2014), and of the usual two-dimensional toys.

They take images of any size as vectors of pixels; a point of the plane is an image of one pixel and two channels.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.activations import ACTIVATIONS, Activation
from saddle.networks.base import Condition, LayeredGenerator, LayeredTrunk, bounded_image
from saddle.networks.norm import BatchNorm, activation_norm, weight_norm
from saddle.precision import at_least_float32
from saddle.randomness import layer_uniform


class Maxout(nn.Module):
    """The largest of each group of `pieces` neighbouring inputs: [B, units * pieces] -> [B, units].

    After a linear layer it is a unit that learns its own convex activation (Goodfellow et al. 2013).
    """

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """[B, units * pieces] -> [B, units]."""
        return x.unflatten(1, (-1, self.pieces)).amax(2)


class Dropout(nn.Module):
    """In training, sets each number of [B, F] to 0 with `probability` and divides the others by 1 - probability.

    What is dropped is a function of the seed, the iteration and the image's place in the global batch
    (`saddle.randomness.layer_uniform`), never of torch's own generator.
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """[B, F] -> [B, F]."""
        if not self.training or not self.probability:
            return x
        numbers = layer_uniform(x, x.shape[1])
        numbers = numbers[:: len(numbers) // len(x)]  # images judged in packs take the numbers of the pack's first
        return x * (numbers >= self.probability).to(x) / (1 - self.probability)

    def extra_repr(self) -> str:
        """Show the probability."""
        return str(self.probability)


class Generator(LayeredGenerator):
    """Linear layers from the latent to the pixels of an image of any size.

    Args (see `saddle.networks` for the others):
        width: units of a hidden layer.
        layers: number of hidden layers.
        activation: a name in `saddle.networks.activations.ACTIVATIONS`.
        batch_norm: batch norm before each activation.
        bounded: a tanh at the end, for images in [-1, 1]; without it the output is linear, for points.
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        layers: int = 2,
        activation: str = "relu",
        batch_norm: bool = False,
        bounded: bool = True,
        classes: int = 0,
        conditioning: str = "none",
        norm: str = "none",
        init: str = "xavier",
    ):
        condition = Condition(conditioning, classes)
        sizes = [latent_dim + condition.length, *[width] * layers]
        make, inputs = ACTIVATIONS[activation]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            parts.append(weight_norm(norm, nn.Linear(before, after * inputs, bias=not batch_norm)))
            parts += [BatchNorm(after * inputs)] if batch_norm else []
            parts.append(make())
        shape = (channels, resolution, resolution)
        parts += [weight_norm(norm, nn.Linear(sizes[-1], math.prod(shape))), nn.Unflatten(1, shape)]
        super().__init__(condition, parts, init, end=bounded_image if bounded else at_least_float32)


class Trunk(LayeredTrunk):
    """Linear layers from the pixels to the last hidden layer, whose F units are the features.

    Args (see `saddle.networks` for the others):
        width: units of the generator's hidden layers.
        ratio: D's hidden units to G's; one unit at least.
        layers: number of hidden layers.
        activation: "maxout", or a name in ACTIVATIONS.
        pieces: linear pieces of a maxout unit.
        dropout: share of the hidden units that are dropped in training, behind each activation.
        input_dropout: share of the pixels that are dropped in training.

    Raises:
        InputError: for instance norm, which needs maps.
    """

    def __init__(
        self,
        width: int,
        resolution: int,
        channels: int,
        ratio: float = 0.2,
        layers: int = 2,
        activation: str = "maxout",
        pieces: int = 5,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        norm: str = "none",
        init: str = "xavier",
    ):
        if norm == "instance":
            raise InputError(
                "model.d_norm=instance: model/trunk=mlp has vectors, not maps; choose layer, spectral or none"
            )
        make, inputs = {"maxout": Activation(lambda: Maxout(pieces), pieces), **ACTIVATIONS}[activation]
        sizes = [channels * resolution**2, *[max(1, round(ratio * width))] * layers]
        parts: list[nn.Module] = [nn.Flatten(), Dropout(input_dropout)]
        for before, after in itertools.pairwise(sizes):
            outputs = after * inputs
            bias = norm in ("spectral", "none")  # an activation norm has one
            parts.append(weight_norm(norm, nn.Linear(before, outputs, bias=bias)))
            parts += [activation_norm(norm, outputs), make(), Dropout(dropout)]
        super().__init__(parts, sizes[-1], norm, init)
