"""Priors of the latent vectors and their truncation."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from saddle.errors import InputError
from saddle.randomness import Draws, rows_uniform

Prior = Literal["normal", "uniform"]
PRIORS: tuple[str, ...] = ("normal", "uniform")


def draw(prior: str, draws: Draws, dim: int) -> Tensor:
    """Latents for a training step: [rows, dim], standard normal or uniform in [-1, 1)."""
    return draws.normal(dim) if prior == "normal" else draws.uniform(dim) * 2 - 1


def sample(prior: str, seed: int, start: int, stop: int, dim: int, truncation: float | None = None) -> Tensor:
    """Latents of the samples [start, stop): float32 [stop - start, dim], each a function of (seed, index).

    Truncation (Brock et al. 2019) draws from the normal law conditioned on every |z| <= truncation, here through the
    inverse distribution function instead of redrawing: the same law, and one sample at two thresholds stays comparable.

    Raises:
        InputError: if truncation is not positive, or the prior is not normal.
    """
    u = rows_uniform(seed, "latents", start, stop, dim).double() + 2.0**-25  # the middle of a float32 step, in (0, 1)
    if prior == "uniform":
        if truncation is not None:
            raise InputError("truncation: this model's latents are uniform, only normal latents can be truncated")
        return (u * 2 - 1).float()
    if truncation is not None:
        if not truncation > 0:
            raise InputError(f"truncation={truncation}: give a positive threshold, e.g. truncation=0.5")
        tail = 0.5 * math.erfc(truncation / math.sqrt(2))
        u = tail + u * (1 - 2 * tail)
    return torch.special.ndtri(u).float()
