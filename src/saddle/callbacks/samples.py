"""Sample grids during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

from saddle.callbacks import paused, record_image
from saddle.images import save_grid


class SampleGrid(Callback):
    """Draws the same latents every time: a row per class where G is conditional, else a square.

    Files go to ``samples/<iteration>.png`` of the run folder and to Weights & Biases as ``samples``.

    Args:
        every: iterations between two grids; 0 for only one at the end.
        folder: the run folder.
        columns: images in a row.
        max_rows: classes shown where there are more.
    """

    def __init__(self, every: int, folder: str, columns: int = 10, max_rows: int = 10):
        self.every, self.folder, self.columns, self.max_rows = every, Path(folder), columns, max_rows
        self._last = -1

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Draw where an interval ends."""
        if self.every and pl_module.iteration % self.every == 0:
            self.draw(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Draw once more, unless that was just done or nothing was trained."""
        if pl_module.iteration not in (0, self._last):
            self.draw(trainer, pl_module)

    def draw(self, trainer: Any, pl_module: Any) -> None:
        """Write the grid of the current moving average; process 0 does it alone."""
        self._last = pl_module.iteration
        if not trainer.is_global_zero:
            return
        with paused(trainer):
            rows = min(pl_module.prior.classes, self.max_rows) if pl_module.conditional else self.columns
            labels = torch.arange(rows).repeat_interleave(self.columns) if pl_module.conditional else None
            images, _ = pl_module.sample(0, rows * self.columns, seed=pl_module.seed, labels=labels)
            path = self.folder / "samples" / f"{pl_module.iteration:08d}.png"
            save_grid(images, self.columns, path)
            record_image(trainer, "samples", path, pl_module.iteration)
