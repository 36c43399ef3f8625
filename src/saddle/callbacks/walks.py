"""Walks from latent to latent during training: does G change smoothly, or has it learned single images?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saddle.callbacks import paused, record_image
from saddle.callbacks.samples import SampleGrid
from saddle.images import save_grid
from saddle.metrics.ppl import slerp
from saddle.randomness import SampleDraws


class Walks(SampleGrid):
    """Draws the images on the way between the same pairs of latents every time (Radford et al. 2016, figure 4).

    Normal latents are joined along a great circle, so that every latent on the way has a length that training knows
    (White 2016, arXiv:1609.04468); uniform ones along the straight line, which stays inside their cube. A conditional G
    keeps one class along a row. Files go to ``samples/walks/<iteration>.png`` of the run folder and to the loggers that
    show pictures as ``samples/walks``. Nothing is drawn of a model that translates images.

    Args:
        every: iterations between two drawings; 0 for only one at the end.
        folder: the run folder.
        rows: walks.
        columns: images of a walk, both ends included.
    """

    def __init__(self, every: int, folder: str, rows: int = 6, columns: int = 10):
        super().__init__(every, folder, columns, rows)

    def draw(self, trainer: Any, pl_module: Any) -> None:
        """Write the walks of the current moving average; process 0 does it alone."""
        self._last = pl_module.iteration
        if not trainer.is_global_zero or hasattr(pl_module, "translate"):
            return
        with paused(trainer):
            path = self.folder / "samples" / "walks" / f"{pl_module.iteration:08d}.png"
            save_grid(self.images(pl_module), self.columns, path)
            record_image(trainer, "samples/walks", path, pl_module.iteration)

    def images(self, model: Any) -> Tensor:
        """The images of all walks, row by row: [rows * columns, C, H, W]."""
        labels = (torch.arange(self.max_rows) % max(model.prior.classes, 1)).to(model.device)
        columns = []
        for latents in self.latents(model):
            with model.drawing(SampleDraws(model.seed, "noise", 0, self.max_rows)) as network:  # one noise a row
                columns.append(model.sample_images(network, latents, labels, None).to(model.dtype))
        return torch.stack(columns, 1).flatten(0, 1)

    def latents(self, model: Any) -> list[Tensor]:
        """The latents of each column: [rows, latent_dim] each."""
        ends = model.sample_latents(model.seed, 0, 2 * self.max_rows).double()
        first, last = ends[: self.max_rows], ends[self.max_rows :]
        ways = []
        for t in torch.linspace(0, 1, self.columns, dtype=torch.float64):
            normal = model.prior.law == "normal"
            way = slerp(first, last, t.expand(len(first))) if normal else torch.lerp(first, last, t)
            ways.append(way.to(model.device, model.dtype))
        return ways
