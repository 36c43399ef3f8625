"""Two-dimensional mixtures of Gaussians, whose modes can be counted and looked at."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddle.data.base import DataModule, Split
from saddle.data.images import ArrayImages
from saddle.errors import InputError
from saddle.randomness import generator


class Centres(ABC):
    """The centres of a mixture."""

    @abstractmethod
    def points(self) -> Tensor:
        """float32 [modes, 2]."""


@dataclass(frozen=True)
class Ring(Centres):
    """Centres at the angles 2 pi k / modes of a circle, of which there is at least one."""

    modes: int
    radius: float

    def points(self) -> Tensor:
        if self.modes < 1:
            raise InputError(f"data.centres.modes={self.modes}: a ring has at least 1")
        angles = torch.arange(self.modes, dtype=torch.float64) * (2 * math.pi / self.modes)
        return (self.radius * torch.stack([angles.cos(), angles.sin()], 1)).float()


@dataclass(frozen=True)
class Grid(Centres):
    """Centres of a square grid around 0, `spacing` apart, row by row; `modes` is a square."""

    modes: int
    spacing: float

    def points(self) -> Tensor:
        side = math.isqrt(max(self.modes, 0))
        if side < 1 or side**2 != self.modes:
            raise InputError(f"data.centres.modes={self.modes}: a square grid has 1, 4, 9, 16, 25, ... centres")
        axis = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * self.spacing
        return torch.cartesian_prod(axis, axis).view(self.modes, 2).float()


class Mixture(DataModule):
    """Points of an equal mixture of round Gaussians, labelled by the Gaussian that they were drawn from; no test part.

    The modes take turns, so their frequencies are as equal as the number of points allows.

    Args:
        centres: `Ring` or `Grid`.
        sigma: standard deviation of each Gaussian along each axis.
        points: how many.
        seed: of the points.

    Raises:
        InputError: for items of more than one pixel.
    """

    def __init__(self, *, centres: Centres, sigma: float, points: int, seed: int, **options: Any):
        super().__init__(**options)
        if self.resolution != 1:
            raise InputError(f"data.resolution={self.resolution}: a point has one pixel; leave it 1")
        self.centres, self.sigma, self.points, self.seed = centres.points(), sigma, points, seed

    def read(self) -> tuple[Split, Split | None]:
        labels = torch.arange(self.points) % len(self.centres)
        noise = torch.randn(self.points, 2, generator=generator(self.seed, "mixture"))
        points = self.centres[labels] + self.sigma * noise
        return Split(ArrayImages(points[:, :, None, None].numpy(), 1, "the mixture"), labels), None
