"""Singular values of the layers during training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from saddle.callbacks import paused, record

LARGEST = 3  # BigGAN's authors watch the first three (Brock et al. 2019, section 4.1)
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class Spectra(Callback):
    """Records the singular values of every layer of D and G, of the weights as the forward pass uses them.

    The three largest go to the loggers as ``spectrum/<player>/<layer>/<0, 1, 2>``; all of them, to
    ``spectra/<iteration>.npz`` of the run folder, an array per layer in the order of the network. A weight is seen as a
    matrix (outputs, rest), as spectral norm sees it (Miyato et al. 2018).

    Args:
        every: iterations between two records; one more at the beginning and at the end.
        folder: the run folder.
    """

    def __init__(self, every: int, folder: str):
        self.every, self.folder = every, Path(folder)
        self._last = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Record where the run begins."""
        self.measure(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record where an interval ends."""
        if self.every and pl_module.iteration % self.every == 0:
            self.measure(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record once more, unless that was just done."""
        if pl_module.iteration != self._last:
            self.measure(trainer, pl_module)

    def measure(self, trainer: Any, pl_module: Any) -> None:
        """Write the file and hand the largest values to the loggers; every process has the same weights."""
        self._last = pl_module.iteration
        with paused(trainer):
            values = {
                f"{player}/{layer}": spectrum
                for player in ("discriminator", "generator")
                for layer, spectrum in spectra(getattr(pl_module, player))
            }
            largest = {
                f"spectrum/{layer}/{i}": float(value)
                for layer, spectrum in values.items()
                for i, value in enumerate(spectrum[:LARGEST])
            }
            record(trainer, largest, self._last)
            if trainer.is_global_zero:
                path = self.folder / "spectra" / f"{self._last:08d}.npz"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(path, allow_pickle=False, **{k: v.cpu().numpy() for k, v in values.items()})


@torch.no_grad()
def spectra(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and singular values, largest first, of every convolution and linear layer, as its forward pass uses it."""
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED):
            weight: Any = layer.weight
            matrix = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
            wide = torch.promote_types(matrix.dtype, torch.float32)
            yield name, torch.linalg.svdvals(matrix.flatten(1).to(wide))
