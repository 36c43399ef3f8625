"""What the styles of a style-based generator do: grids that mix two of them, and that truncate one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from saddle.callbacks.pictures import Pictures
from saddle.randomness import SampleDraws


class StyleGrid(Pictures):
    """Base of the grids, ``samples/<name>``; nothing is drawn of a generator without styles.

    Args:
        every, folder: of `Pictures`.
        rows: rows; each has a noise of its own, and a class where G is conditional.
    """

    name: str

    def __init__(self, every: int, folder: str, rows: int):
        super().__init__(every, folder)
        self.rows = rows

    def applies(self, trainer: Any, model: Any) -> bool:
        return hasattr(model.generator, "styles")

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor, int]]:
        grid = self.grid(model)
        yield f"samples/{self.name}", grid.flatten(0, 1), grid.shape[1]

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
        every, folder: of `Pictures`.
        columns: sources B.
        rows: sources A.
        crossover: the first layer that follows B; None: the middle one of the layers in use.
    """

    name = "style_mixing"

    def __init__(self, every: int, folder: str, columns: int = 6, rows: int = 6, crossover: int | None = None):
        super().__init__(every, folder, rows)
        self.columns, self.crossover = columns, crossover

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
        every, folder: of `Pictures`.
        psi: of the columns.
        rows: latents.
    """

    name = "truncation"

    def __init__(self, every: int, folder: str, psi: Sequence[float] = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0), rows: int = 6):
        super().__init__(every, folder, rows)
        self.psi = list(psi)

    def grid(self, model: Any) -> Tensor:
        """The images [rows, len(psi), C, H, W]."""
        latents = latents_of(model, 0, self.rows)
        return torch.stack([self.column(model, latents, truncation=psi) for psi in self.psi], 1)
