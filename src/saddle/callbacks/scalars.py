"""Losses, logits, penalties and accuracies, read from the device every N iterations."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from saddle.callbacks import record


class Scalars(Callback):
    """Records the means of the tracked scalars since the last time.

    Args:
        every: iterations between two readings, each of which waits for the device once.
    """

    def __init__(self, every: int):
        self.every = every

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Read where an interval ends."""
        if pl_module.iteration % self.every == 0:
            record(trainer, pl_module.tracked(), pl_module.iteration)
