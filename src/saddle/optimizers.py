"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda p, lr, beta1, beta2, eps: torch.optim.Adam(p, lr, (float(beta1), float(beta2)), eps, fused=True),
    "rmsprop": lambda p, lr, beta1, beta2, eps: torch.optim.RMSprop(p, lr, alpha=float(beta2), eps=eps),
    "sgd": lambda p, lr, beta1, beta2, eps: torch.optim.SGD(p, lr, momentum=float(beta1), fused=True),
}


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], lr: float, beta1: float, beta2: float, eps: float
) -> torch.optim.Optimizer:
    """The optimiser `name`: adam, rmsprop (beta2 is its smoothing constant) or sgd (beta1 is its momentum)."""
    return OPTIMIZERS[name](list(parameters), lr, beta1, beta2, eps)
