"""What a generator starts from: the laws of its latents and labels, and truncation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from saddle.errors import InputError
from saddle.randomness import Draws, rows_integers, rows_uniform


@dataclass(frozen=True)
class Prior:
    """The law of latents and labels.

    Args:
        dim: length of a latent vector.
        law: of its numbers: "normal" (standard) or "uniform" (in [-1, 1)).
        classes: number of classes; 0 without labels, which are then all 0.
        labels: of the images that G makes in training: "uniform", every class as likely, or "real", those of the real
            images at the same places of the batch.
    """

    dim: int
    law: Literal["normal", "uniform"] = "normal"
    classes: int = 0
    labels: Literal["uniform", "real"] = "uniform"

    def draw(self, draws: Draws) -> Tensor:
        """Latents of one micro-batch in training, [rows, dim]."""
        return draws.normal(self.dim) if self.law == "normal" else draws.uniform(self.dim) * 2 - 1

    def sample(self, seed: int, start: int, stop: int, truncation: float | None = None) -> Tensor:
        """Latents of the samples [start, stop): float32 [stop - start, dim], each a function of (seed, index).

        Args:
            seed: of the samples.
            start, stop: which samples.
            truncation: draw from the normal law conditioned on every |z| <= truncation (Brock et al. 2019), here
                through the inverse distribution function instead of redrawing: the same law, and one sample at two
                thresholds stays comparable. None: the whole law.

        Raises:
            InputError: if truncation is not positive, or the law is not normal.
        """
        # the middle of a float32 step, in (0, 1)
        u = rows_uniform(seed, "latents", start, stop, self.dim).double() + 2.0**-25
        if self.law == "uniform":
            if truncation is not None:
                raise InputError("truncation: this model's latents are uniform, only normal latents can be truncated")
            return (u * 2 - 1).float()
        if truncation is not None:
            if not truncation > 0:
                raise InputError(f"truncation={truncation}: give a positive threshold, e.g. truncation=0.5")
            tail = 0.5 * math.erfc(truncation / math.sqrt(2))
            u = tail + u * (1 - 2 * tail)
        return torch.special.ndtri(u).float()

    def sample_labels(self, seed: int, start: int, stop: int) -> Tensor:
        """Labels of the samples [start, stop), every class as likely: int64 [stop - start]."""
        return rows_integers(seed, "labels", start, stop, max(self.classes, 1))
