"""The head that makes the discriminator an autoencoder: EBGAN and BEGAN."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.heads.base import Head
from saddle.networks.dcgan import stages
from saddle.networks.init import initialise
from saddle.networks.norm import activation_norm, weight_norm
from saddle.precision import at_least_float32

#: What distinguishes an image from its reconstruction: from differences [B, pixels * channels] to errors [B].
ERRORS: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": lambda x: x.square().mean(1),
    "l1": lambda x: x.abs().mean(1),
    "euclidean": lambda x: torch.linalg.vector_norm(x, dim=1),
}


class Decoder(nn.Module):
    """Features [B, F] to an image [B, channels, resolution, resolution], without bounds.

    Where the resolution is a power of two from 8 on: a linear layer through `code` numbers to a 4x4 map, then the
    transposed convolutions of DCGAN's generator. Otherwise (points of a plane, 28 pixels) a linear layer.

    Args:
        features: F.
        width: channels of the last hidden layer.
        resolution: of the image.
        channels: of the image.
        norm: of the hidden layers: batch, layer, instance, spectral (of the weights) or none.
        init: a name known to `initialise`.
        code: numbers through which the image passes, which keep the linear layer small; 0 for a direct one.
    """

    def __init__(
        self,
        features: int,
        width: int,
        resolution: int,
        channels: int,
        norm: str = "batch",
        init: str = "normal02",
        code: int = 128,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        if code:
            layers.append(weight_norm(norm, nn.Linear(features, code)))
        inputs = code or features
        if resolution < 8 or resolution & (resolution - 1):
            layers.append(weight_norm(norm, nn.Linear(inputs, channels * resolution**2)))
            layers.append(nn.Unflatten(1, (channels, resolution, resolution)))
        else:
            layers += self._convolutions(inputs, width, stages(resolution), channels, norm)
        self.layers = initialise(nn.Sequential(*layers), init)

    @staticmethod
    def _convolutions(inputs: int, width: int, doublings: int, channels: int, norm: str) -> list[nn.Module]:
        widths = [width * 2**i for i in reversed(range(doublings))]
        bias = norm in ("spectral", "none")  # an activation norm has one
        first = weight_norm(norm, nn.Linear(inputs, widths[0] * 16, bias=bias))
        layers = [first, nn.Unflatten(1, (widths[0], 4, 4)), activation_norm(norm, widths[0]), nn.LeakyReLU(0.2)]
        for before, after in itertools.pairwise(widths):
            layers.append(weight_norm(norm, nn.ConvTranspose2d(before, after, 4, 2, 1, bias=bias)))
            layers += [activation_norm(norm, after), nn.LeakyReLU(0.2)]
        return [*layers, weight_norm(norm, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1))]

    def forward(self, features: Tensor) -> Tensor:
        """The image of `features`."""
        return self.layers(features)


class Reconstruction(Head):
    """The trunk encodes, a decoder decodes: logit = -error, what the autoencoder loses of the image.

    The logit is at most 0, and near it for images like those that the autoencoder knows: the energy of Zhao et al.
    2017 (EBGAN), the loss L of Berthelot et al. 2017 (BEGAN). The gradient reaches an image both through the
    reconstruction and as its target.

    Args:
        features: F, length of the trunk's features.
        classes, norm, init: not read; the decoder has a norm and an initialisation of its own.
        decoder: makes the decoder, called with `features` and `channels`.
        channels: of an image.
        packing: images that are judged together; all are reconstructed.
        error: "euclidean", the norm of the difference (EBGAN); "mse", the mean square over pixels; "l1",
            the mean absolute difference over pixels (BEGAN). In units of [-1, 1].

    Raises:
        InputError: for another error.
    """

    reconstructs = True

    def __init__(
        self,
        features: int,
        classes: int = 0,
        norm: str = "none",
        init: str = "orthogonal",
        *,
        decoder: Callable[..., nn.Module],
        channels: int,
        packing: int = 1,
        error: str = "euclidean",
    ):
        super().__init__(classes)
        if error not in ERRORS:
            raise InputError(f"model.head.error={error}: must be one of {', '.join(ERRORS)}")
        self.error = error
        self.decoder = decoder(features=features, channels=channels * packing)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """Features [B, F] of images [B, C, H, W] -> logits [B], minus the errors."""
        return -ERRORS[self.error]((at_least_float32(self.decoder(features)) - at_least_float32(images)).flatten(1))
