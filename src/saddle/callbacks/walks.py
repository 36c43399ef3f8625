"""Walks from latent to latent during training: does G change smoothly, or has it learned single images?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from saddle.callbacks.pictures import Pictures
from saddle.metrics.ppl import slerp
from saddle.randomness import SampleDraws


class Walks(Pictures):
    """Draws ``samples/walks``: the images on the way between the same pairs of latents (Radford et al. 2016, figure 4).

    Normal latents are joined along a great circle, so that every latent on the way has a length that training knows
    (White 2016, arXiv:1609.04468); uniform ones along the straight line, which stays inside their cube. A conditional G
    keeps one class along a row. Nothing is drawn of a model that translates images.

    Args:
        every, folder: of `Pictures`.
        rows: walks.
        columns: images of a walk, both ends included.
    """

    def __init__(self, every: int, folder: str, rows: int = 6, columns: int = 10):
        super().__init__(every, folder, columns)
        self.rows = rows

    def applies(self, trainer: Any, model: Any) -> bool:
        return not hasattr(model, "translate")

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor, int]]:
        labels = (torch.arange(self.rows) % max(model.prior.classes, 1)).to(model.device)
        columns = []
        for latents in self.latents(model):
            with model.drawing(SampleDraws(model.seed, "noise", 0, self.rows)) as network:  # one noise a row
                columns.append(model.sample_images(network, latents, labels, None).to(model.dtype))
        yield "samples/walks", torch.stack(columns, 1).flatten(0, 1), self.columns

    def latents(self, model: Any) -> list[Tensor]:
        """The latents of each column: [rows, latent_dim] each."""
        first, last = model.sample_latents(model.seed, 0, 2 * self.rows).double().split(self.rows)
        ways = []
        for t in torch.linspace(0, 1, self.columns, dtype=torch.float64):
            normal = model.prior.law == "normal"
            way = slerp(first, last, t.expand(len(first))) if normal else torch.lerp(first, last, t)
            ways.append(way.to(model.device, model.dtype))
        return ways
