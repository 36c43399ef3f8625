"""What all callbacks that draw pictures share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from saddle.callbacks import record_image
from saddle.callbacks.intervals import AtIntervals
from saddle.images import save_grid
from saddle.run.stopwatch import paused


class Pictures(AtIntervals):
    """Base of the callbacks that draw grids of images, at intervals and at the end; a subclass says which.

    Process 0 draws alone, and none of it counts as training time. A grid goes to ``<name>/<iteration>.png`` of the run
    folder and to the loggers that show pictures as ``<name>``.

    Args:
        every: iterations between two drawings; 0 for only one at the end.
        folder: the run folder.
        columns: images in a row.
    """

    at_end = True

    def __init__(self, every: int, folder: str, columns: int = 10):
        super().__init__(every)
        self.folder, self.columns = Path(folder), columns

    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero and self.applies(trainer, pl_module):
            with paused(trainer):
                self.draw(trainer, pl_module)

    def applies(self, trainer: Any, model: Any) -> bool:
        """Whether there is anything to draw of a model and its data."""
        return True

    def draw(self, trainer: Any, model: Any) -> None:
        """Write all pictures of now and hand them to the loggers."""
        for name, images, columns in self.grids(model):
            path = self.folder / name / f"{model.iteration:08d}.png"
            save_grid(images, columns, path)
            record_image(trainer, name, path, model.iteration)

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor, int]]:
        """Of each grid its name, the images [N, C, H, W] in [-1, 1] row by row, and the number of columns."""
        raise NotImplementedError
