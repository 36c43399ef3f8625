"""Losses, logits, penalties and accuracies, read from the device every N iterations."""

from __future__ import annotations

from typing import Any

from saddle.callbacks import record
from saddle.callbacks.intervals import AtIntervals


class Scalars(AtIntervals):
    """Records the means of the tracked scalars over an interval; each reading waits for the device once.

    Args:
        every: iterations between two readings.
    """

    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        record(trainer, pl_module.tracked(), pl_module.iteration)
