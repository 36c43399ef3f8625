"""Named initialisations of a network's weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.norm import power_iterate

M = TypeVar("M", bound=nn.Module)

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)


#: By name: draws a weight. Only xavier reads the gain, the layer's `init_gain` (convolutions of a residual path) or 1.
INITIALISERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    # BigGAN: orthonormal rows or columns of the matrix (out, in * k * k)
    "orthogonal": lambda weight, gain: nn.init.orthogonal_(weight),
    "normal02": lambda weight, gain: nn.init.normal_(weight, 0.0, 0.02),  # DCGAN
    "xavier": nn.init.xavier_uniform_,  # SNGAN: Glorot uniform
}


def initialise(module: M, name: str) -> M:
    """Set the weights of all convolutions, linear layers and embeddings inside `module`, and their biases to zero.

    Gains and biases of normalisation layers keep their own starting values. Weights under a spectral norm are set
    underneath it and its singular vectors follow. On the meta device there is nothing to set.

    Args:
        module: changed in place, and returned.
        name: one of INITIALISERS.

    Raises:
        InputError: for an unknown name.
    """
    if name not in INITIALISERS:
        raise InputError(f"model.init={name}: unknown initialisation; choose one of {', '.join(INITIALISERS)}")
    normalised = False
    for layer in module.modules():
        if not isinstance(layer, WEIGHTED):
            continue
        parameters = dict(layer.named_parameters())
        weight = parameters.get("parametrizations.weight.original")
        if weight is None:
            weight = parameters["weight"]
        else:
            normalised = True
        if weight.is_meta:
            continue
        INITIALISERS[name](weight, getattr(layer, "init_gain", 1.0))
        if "bias" in parameters:
            nn.init.zeros_(parameters["bias"])
    if normalised:
        for _ in range(15):  # as many as the spectral norm itself takes when it is made
            power_iterate(module)
    return module
