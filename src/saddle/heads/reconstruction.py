"""The head that makes the discriminator an autoencoder: EBGAN and BEGAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.heads.base import Head
from saddle.networks.dcgan import doubling, stages
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

    Args (see `saddle.networks` for the others):
        features: F.
        width: channels of the last hidden layer.
        resolution: any.
        norm: of the hidden layers, any.
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
            widths = [width * 2**i for i in reversed(range(stages(resolution)))]
            bias = norm in ("spectral", "none")  # an activation norm has one
            layers += doubling(
                inputs, widths, channels, norm, bias, lambda c: [activation_norm(norm, c), nn.LeakyReLU(0.2)]
            )
        self.layers = initialise(nn.Sequential(*layers), init)

    def forward(self, features: Tensor) -> Tensor:
        """The image of `features`."""
        return self.layers(features)


class Reconstruction(Head):
    """The trunk encodes, a decoder decodes: logit = -error, what the autoencoder loses of the image.

    The logit is at most 0, and near it for images like those that the autoencoder knows: the energy of Zhao et al.
    2017 (EBGAN), the loss L of Berthelot et al. 2017 (BEGAN). The gradient reaches an image both through the
    reconstruction and as its target.

    Args:
        decoder: makes the decoder, which has a norm and an initialisation of its own, of `features` and `channels`.
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
        *,
        decoder: Callable[..., nn.Module],
        channels: int,
        packing: int = 1,
        error: str = "euclidean",
        **shared: Any,
    ):
        super().__init__(features, classes, **shared)
        if error not in ERRORS:
            raise InputError(f"model.head.error={error}: must be one of {', '.join(ERRORS)}")
        self.error = error
        self.decoder = decoder(features=features, channels=channels * packing)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return -ERRORS[self.error]((at_least_float32(self.decoder(features)) - at_least_float32(images)).flatten(1))
