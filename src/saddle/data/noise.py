"""Random images, for benchmarks and tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from saddle.data.base import DataModule, Split
from saddle.data.images import ArrayImages
from saddle.randomness import generator


class Noise(DataModule):
    """Independent uniform pixels and, where there are classes, labels that take turns; no test part.

    Args:
        size: number of images.
        seed: of the pixels.
    """

    def __init__(self, *, size: int, seed: int, **options: Any):
        super().__init__(**options)
        self.size, self.seed = size, seed

    def read(self) -> tuple[Split, Split | None]:
        shape = (self.size, self.channels, self.resolution, self.resolution)
        pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator(self.seed, "noise"))
        labels = np.arange(self.size) % self.classes if self.classes else None
        return Split(ArrayImages(pixels.numpy(), self.resolution, "data=noise"), labels), None
