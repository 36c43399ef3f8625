"""What the styles of a style-based generator do: grids that mix two of them, and that truncate one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from saddle.callbacks import paused, record_image
from saddle.callbacks.samples import SampleGrid
from saddle.images import save_grid
from saddle.randomness import SampleDraws


class StyleGrid(SampleGrid, ABC):
    """Base of the grids; nothing is drawn of a generator without styles.

    Files go to ``samples/<name>/<iteration>.png`` of the run folder and to Weights & Biases as ``samples/<name>``.

    Args:
        every: iterations between two grids; 0 for only one at the end.
        folder: the run folder.
        columns: images in a row.
        rows: rows; each has a noise of its own, and a class where G is conditional.
    """

    name = ""

    def __init__(self, every: int, folder: str, columns: int, rows: int):
        super().__init__(every, folder, columns, rows)
        self.rows = rows

    def draw(self, trainer: Any, pl_module: Any) -> None:
        """Write the grid of the current moving average; process 0 does it alone."""
        self._last = pl_module.iteration
        if not trainer.is_global_zero or not hasattr(pl_module.generator, "styles"):
            return
        with paused(trainer):
            grid = self.grid(pl_module)
            path = self.folder / "samples" / self.name / f"{pl_module.iteration:08d}.png"
            save_grid(grid.flatten(0, 1), grid.shape[1], path)
            record_image(trainer, f"samples/{self.name}", path, pl_module.iteration)

    @abstractmethod
    def grid(self, model: Any) -> Tensor:
        """The images [rows, columns, C, H, W]."""

    def column(self, model: Any, latents: Tensor, **options: Any) -> Tensor:
        """One column, [rows, C, H, W]: images of latents [rows, latent_dim], the same noise in every column."""
        labels = (torch.arange(len(latents)) % max(model.prior.classes, 1)).to(model.device)
        with model.drawing(SampleDraws(model.seed, "noise", 0, len(latents))) as network:
            return network(latents, labels, **options).to(model.dtype)


def latents_of(model: Any, start: int, stop: int) -> Tensor:
    """The latents of the samples number `start` to `stop` of the run's seed, where and as the model needs them."""
    return model.sample_latents(model.seed, start, stop).to(model.device).type(model.dtype)


class StyleMixing(StyleGrid):
    """Mixes the styles of two sets of latents (Karras et al. 2019, figure 3).

    The left column shows source A, the top row source B, the corner is white. An image has the styles of its row's A in
    the layers before `crossover`, which decide on the coarse, and those of its column's B from there on.

    Args:
        every: iterations between two grids; 0 for only one at the end.
        folder: the run folder.
        columns: sources B.
        rows: sources A.
        crossover: the first layer that follows B; None: the middle one of the layers in use.
    """

    name = "style_mixing"

    def __init__(self, every: int, folder: str, columns: int = 6, rows: int = 6, crossover: int | None = None):
        super().__init__(every, folder, columns, rows)
        self.crossover = crossover

    def grid(self, model: Any) -> Tensor:
        """The images [1 + rows, 1 + columns, C, H, W]."""
        sources = latents_of(model, 0, self.rows + self.columns)
        a, b = sources[: self.rows], sources[self.rows :]
        crossover = model.layers // 2 if self.crossover is None else self.crossover
        mixed = [self.column(model, a)]
        mixed += [self.column(model, a, mixing=each.expand_as(a), crossover=crossover) for each in b]
        body = torch.stack(mixed, 1)
        top = torch.cat([torch.ones_like(body[0, :1]), self.column(model, b)])
        return torch.cat([top[None], body])


class Truncation(StyleGrid):
    """Truncates styles by several psi (Karras et al. 2019, figure 8): a latent a row, a psi a column.

    1 leaves a style as it is, 0 gives the average image, which all rows share; negative ones are its opposites.

    Args:
        every: iterations between two grids; 0 for only one at the end.
        folder: the run folder.
        psi: of the columns.
        rows: latents.
    """

    name = "truncation"

    def __init__(self, every: int, folder: str, psi: Sequence[float] = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0), rows: int = 6):
        super().__init__(every, folder, len(psi), rows)
        self.psi = list(psi)

    def grid(self, model: Any) -> Tensor:
        """The images [rows, len(psi), C, H, W]."""
        latents = latents_of(model, 0, self.rows)
        return torch.stack([self.column(model, latents, truncation=psi) for psi in self.psi], 1)
