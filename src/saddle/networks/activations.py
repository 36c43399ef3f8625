"""The nonlinearities that networks can be built with, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """sigmoid(a) * tanh(b), where a and b are the even and the odd channels: [B, 2 C, ...] -> [B, C, ...].

    PixelCNN's multiplicative nonlinearity (van den Oord et al. 2016, equation 2).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, 2 C, ...] -> [B, C, ...]."""
        return torch.sigmoid(x[:, ::2]) * torch.tanh(x[:, 1::2])


class Activation(NamedTuple):
    """A nonlinearity.

    Attributes:
        make: makes the layer.
        inputs: channels that it reads for each channel that it writes.
    """

    make: Callable[[], nn.Module]
    inputs: int = 1


ACTIVATIONS = {
    "relu": Activation(lambda: nn.ReLU(inplace=True)),
    "leaky_relu": Activation(lambda: nn.LeakyReLU(0.2, inplace=True)),
    "tanh": Activation(nn.Tanh),
    "gated": Activation(Gate, 2),
}
