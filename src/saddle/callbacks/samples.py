"""Sample grids during training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from saddle.callbacks.pictures import Pictures


class SampleGrid(Pictures):
    """Draws ``samples``, the same latents every time: a row per class where G is conditional, else a square.

    Args:
        every, folder: of `Pictures`.
        columns: images in a row.
        max_rows: classes shown where there are more.
    """

    def __init__(self, every: int, folder: str, columns: int = 10, max_rows: int = 10):
        super().__init__(every, folder)
        self.columns, self.max_rows = columns, max_rows

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor, int]]:
        rows = min(model.prior.classes, self.max_rows) if model.conditional else self.columns
        labels = torch.arange(rows).repeat_interleave(self.columns) if model.conditional else None
        images, _ = model.sample(0, rows * self.columns, seed=model.seed, labels=labels)
        yield "samples", images, self.columns
