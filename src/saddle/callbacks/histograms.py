"""How D's logits, and the weights and gradients of both players, are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saddle.callbacks import loggers_with
from saddle.callbacks.intervals import AtIntervals
from saddle.run.stopwatch import paused

BINS = 64  # of a histogram, from the least to the largest value


class Histograms(AtIntervals):
    """Sends histograms to the loggers that show them; nothing is computed without one.

    ``logits/real`` and ``logits/fake`` are D's logits on the batch of its last update, and overlap where the game is
    even; ``weights/<player>/<layer>`` and ``gradients/<player>/<layer>`` are of every weight with at least two axes,
    gradients those of the player's last step. Values that are not finite are left out.

    Args:
        every: iterations between two looks; 0 for none.
    """

    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        """Send the histograms of now; process 0 does it alone."""
        loggers = loggers_with(trainer, "log_histograms") if trainer.is_global_zero else []
        if loggers:
            with paused(trainer):
                found = histograms(tensors_of(pl_module), BINS)
                for logger in loggers:
                    logger.log_histograms(found, step=pl_module.iteration)


def tensors_of(model: Any) -> dict[str, Tensor]:
    """What histograms are made of, by name."""
    found = {f"logits/{side}": logits for side, logits in model.last_logits.items()}
    for player in ("generator", "discriminator"):
        for name, parameter in getattr(model, player).named_parameters():
            if parameter.dim() < 2:
                continue
            layer = f"{player}/{name.removesuffix('.weight')}"
            found[f"weights/{layer}"] = parameter.detach()
            if parameter.grad is not None:
                found[f"gradients/{layer}"] = parameter.grad
    return found


@torch.no_grad()
def histograms(tensors: Mapping[str, Tensor], bins: int) -> dict[str, tuple[NDArray, NDArray]]:
    """Of each tensor the counts [bins] and the edges [bins + 1], float64.

    A tensor whose values are all the same has them in the middle of a range of width 1. One without a finite value has
    no histogram.
    """
    found = {}
    for name, tensor in tensors.items():
        values = tensor.flatten().float()
        values = values[values.isfinite()]
        if not len(values):
            continue
        low, high = (float(end) for end in values.aminmax())
        if low == high:
            low, high = low - 0.5, high + 0.5
        counts = torch.histc(values, bins, low, high).double().cpu().numpy()
        found[name] = counts, np.linspace(low, high, bins + 1)
    return found
