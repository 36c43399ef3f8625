"""What a growing generator drew at each resolution, in one picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from saddle.callbacks import record_image
from saddle.callbacks.pictures import Pictures
from saddle.data.files import made_whole
from saddle.image_files import open_image
from saddle.images import save_grid


class GrowthGrid(Pictures):
    """Draws the same latents at every resolution, a row each; nothing for a model that does not grow.

    A row is drawn every so often while its stage is trained, and when the stage ends; so a finished stage keeps its
    last row. Rows go to ``samples/growth/<resolution>.png`` of the run folder; all of them, the smallest resolution on
    top, to ``samples/growth/all.png`` and to Weights & Biases as ``samples/growth``. Small images are enlarged.
    """

    def ends_interval(self, model: Any) -> bool:
        """Whether an interval or a stage ends."""
        growth, iteration = getattr(model, "growth", None), model.iteration
        if growth is not None and growth.phase_at(iteration).stage != growth.phase_at(iteration - 1).stage:
            return True
        return super().ends_interval(model)

    def applies(self, trainer: Any, model: Any) -> bool:
        growth = getattr(model, "growth", None)
        return growth is not None and len(growth.stages) > 1

    def draw(self, trainer: Any, model: Any) -> None:
        """Write the row of the stage that the last iteration belongs to, and the picture of all."""
        stage = model.growth.phase_at(model.iteration - 1).stage
        folder = self.folder / "samples" / "growth"
        labels = torch.arange(self.columns) % model.prior.classes if model.conditional else None
        images, _ = model.sample(0, self.columns, seed=model.seed, labels=labels)
        save_grid(images, self.columns, folder / f"{4 * 2**stage:04d}.png")
        rows = [folder / f"{4 * 2**s:04d}.png" for s in model.growth.stages if s <= stage]
        below = np.concatenate([np.asarray(open_image(row).convert("RGB")) for row in rows if row.exists()])
        with made_whole(folder / "all.png") as partial:
            Image.fromarray(below).save(partial)
        record_image(trainer, "samples/growth", folder / "all.png", model.iteration)
