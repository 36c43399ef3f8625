"""Sample grids during training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from saddle.callbacks.pictures import Pictures

MOST_CLASSES = 10  # that are shown


class SampleGrid(Pictures):
    """Draws ``samples``, the same latents every time: a row per class where G is conditional, else a square."""

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor, int]]:
        rows = min(model.prior.classes, MOST_CLASSES) if model.conditional else self.columns
        labels = torch.arange(rows).repeat_interleave(self.columns) if model.conditional else None
        images, _ = model.sample(0, rows * self.columns, seed=model.seed, labels=labels)
        yield "samples", images, self.columns
