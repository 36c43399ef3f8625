"""What happens every so many iterations, and once more at the end of training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback


class AtIntervals(Callback, ABC):
    """Base of the callbacks that act at intervals of iterations: a subclass says what to do in `on_interval_end`.

    Args:
        every: iterations of an interval; 0 for none.

    Attributes:
        at_end: whether the end of training ends an interval too; not where one just ended or nothing was trained.
    """

    at_end = False

    def __init__(self, every: int):
        self.every = every
        self._last = -1  # the iteration at which an interval ended

    @abstractmethod
    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        """What to do; every process calls it."""

    def ends_interval(self, model: Any) -> bool:
        """Whether an interval ends at the iteration that the model has just finished."""
        return self.every > 0 and model.iteration % self.every == 0

    def end_interval(self, trainer: Any, pl_module: Any) -> None:
        """End an interval now."""
        self._last = pl_module.iteration
        self.on_interval_end(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.ends_interval(pl_module):
            self.end_interval(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.at_end and pl_module.iteration not in (0, self._last):
            self.end_interval(trainer, pl_module)
