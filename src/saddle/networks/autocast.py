"""How a layer asks autocast for another type than it would get; what is asked for, and why: `saddle.networks`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Inside, operations on the device of `x` compute in the types of their inputs."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def in_convolution_type(x: Tensor) -> Tensor:
    """`x` in the type that a convolution of it computes in: under autocast the low one, else its own."""
    device = x.device.type
    if x.is_meta or x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))
