"""What happens every so many iterations, and once more at the end of training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback

from saddle.run import signals
from saddle.run.cut import CutShort


class AtIntervals(Callback, ABC):
    """Base of the callbacks that act at intervals of iterations: a subclass says what to do in `on_interval_end`.

    When a signal cuts one short (`saddle.run.cut`), it and those that come after it are owed: the resumed run does them
    before it goes on, so that it leaves the same as one that was never stopped.

    Args:
        every: iterations of an interval; 0 for none.

    Attributes:
        at_end: whether the end of training ends an interval too; not where one just ended or nothing was trained, nor
            where the run was cut short, to be resumed: it has not ended yet.
    """

    at_end = False

    def __init__(self, every: int):
        self.every = every
        self._last = -1  # the iteration at which an interval ended
        self._owed = False  # whether one has ended, and what it asks for is not done

    def state_dict(self) -> dict[str, Any]:
        """Whether the next process of this run owes something."""
        return {"owed": True} if self._owed else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier process of this run."""
        self._owed = state_dict.get("owed", False)

    @abstractmethod
    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        """What to do; every process calls it."""

    def ends_interval(self, model: Any) -> bool:
        """Whether an interval ends at the iteration that the model has just finished."""
        return self.every > 0 and model.iteration % self.every == 0

    def end_interval(self, trainer: Any, pl_module: Any) -> None:
        """End an interval now."""
        self._last, self._owed = pl_module.iteration, True
        if signals.agreed():
            return
        try:
            self.on_interval_end(trainer, pl_module)
            self._owed = False
        except CutShort:
            pass

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self._owed:
            self.end_interval(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.ends_interval(pl_module):
            self.end_interval(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.at_end and not signals.agreed() and pl_module.iteration not in (0, self._last):
            self.end_interval(trainer, pl_module)
