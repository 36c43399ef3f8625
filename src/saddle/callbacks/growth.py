"""What a growing generator drew at each resolution, in one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from saddle.callbacks import paused, record_image
from saddle.callbacks.samples import SampleGrid
from saddle.images import save_grid


class GrowthGrid(SampleGrid):
    """Draws the same latents at every resolution, a row each; nothing for a model that does not grow.

    A row is drawn every so often while its stage is trained, and when the stage ends; so a finished stage keeps its
    last row. Rows go to ``samples/growth/<resolution>.png`` of the run folder; all of them, the smallest resolution on
    top, to ``samples/growth/all.png`` and to Weights & Biases as ``samples/growth``. Small images are enlarged.

    Args:
        every: iterations between two drawings; 0 for only one at the end of each stage.
        folder: the run folder.
        columns: images in a row.
    """

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Draw where an interval or a stage ends."""
        growth, iteration = getattr(pl_module, "growth", None), pl_module.iteration
        if growth is not None and growth.phase_at(iteration).stage != growth.phase_at(iteration - 1).stage:
            self.draw(trainer, pl_module)
        else:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def draw(self, trainer: Any, pl_module: Any) -> None:
        """Write the row of the stage that the last iteration belongs to, and the picture of all; process 0 alone."""
        self._last = pl_module.iteration
        growth = getattr(pl_module, "growth", None)
        if not trainer.is_global_zero or growth is None or len(growth.stages) < 2:
            return
        stage = growth.phase_at(pl_module.iteration - 1).stage
        folder = self.folder / "samples" / "growth"
        with paused(trainer):
            labels = torch.arange(self.columns) % pl_module.prior.classes if pl_module.conditional else None
            images, _ = pl_module.sample(0, self.columns, seed=pl_module.seed, labels=labels)
            save_grid(images, self.columns, folder / f"{4 * 2**stage:04d}.png")
            rows = [folder / f"{4 * 2**s:04d}.png" for s in growth.stages if s <= stage]
            stack([row for row in rows if row.exists()], folder / "all.png")
            record_image(trainer, "samples/growth", folder / "all.png", pl_module.iteration)


def stack(pictures: Sequence[Path], path: Path) -> None:
    """Write pictures of one width below each other as one PNG, all at once or not at all."""
    rows = [Image.open(picture).convert("RGB") for picture in pictures]
    whole = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height
    temporary = path.with_suffix(".tmp")
    whole.save(temporary, format="PNG")
    os.replace(temporary, path)
