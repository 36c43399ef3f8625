"""Singular values of the layers during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saddle.callbacks import record
from saddle.callbacks.intervals import AtIntervals
from saddle.run.stopwatch import paused

LARGEST = 3  # BigGAN's authors watch the first three (Brock et al. 2019, section 4.1)
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class Spectra(AtIntervals):
    """Records the singular values of every layer of D and G, of the weights as the forward pass uses them.

    The three largest go to the loggers as ``spectrum/<player>/<layer>/<0, 1, 2>``; all of them, to
    ``spectra/<iteration>.npz`` of the run folder, an array per layer in the order of the network. A weight is seen as a
    matrix (outputs, rest), as spectral norm sees it (Miyato et al. 2018).

    Args:
        every: iterations between two records; one more at the beginning and at the end.
        folder: the run folder.
    """

    at_end = True

    def __init__(self, every: int, folder: str):
        super().__init__(every)
        self.folder = Path(folder)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        if pl_module.iteration == 0:
            self.end_interval(trainer, pl_module)

    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the file and hand the largest values to the loggers; every process has the same weights."""
        with paused(trainer):
            values = spectra_of(pl_module)
            record(trainer, largest(values), pl_module.iteration)
            if trainer.is_global_zero:
                path = self.folder / "spectra" / f"{pl_module.iteration:08d}.npz"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(path, allow_pickle=False, **{k: v.cpu().numpy() for k, v in values.items()})


def spectra_of(model: Any) -> dict[str, Tensor]:
    """The singular values of D and G by ``<player>/<layer>``."""
    players = ("discriminator", "generator")
    return {f"{player}/{layer}": values for player in players for layer, values in spectra(getattr(model, player))}


def largest(spectra: Mapping[str, Tensor]) -> dict[str, float]:
    """The three largest singular values of each layer, as ``spectrum/<player>/<layer>/<i>``."""
    return {
        f"spectrum/{layer}/{i}": float(value)
        for layer, values in spectra.items()
        for i, value in enumerate(values[:LARGEST])
    }


@torch.no_grad()
def spectra(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and singular values, largest first, of every convolution and linear layer, as its forward pass uses it."""
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED):
            weight: Any = layer.weight
            matrix = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
            wide = torch.promote_types(matrix.dtype, torch.float32)
            yield name, torch.linalg.svdvals(matrix.flatten(1).to(wide))
