"""The time spent on training alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from lightning.pytorch import Trainer


class Stopwatch:
    """Counts seconds while it runs."""

    def __init__(self) -> None:
        self.before = 0.0  # seconds of earlier processes of the same run
        self._counted = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds counted so far, those of earlier processes included."""
        return self.before + self._counted + (0.0 if self._since is None else time.perf_counter() - self._since)

    def start(self) -> None:
        """Count from now on; nothing changes if it runs already."""
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Count no longer; nothing changes if it does not run."""
        if self._since is not None:
            self._counted += time.perf_counter() - self._since
            self._since = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what happens inside; what the device still has to do is waited for before and after."""
        wait_for_device()
        was_running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            wait_for_device()
            if was_running:
                self.start()


def paused(trainer: Trainer) -> AbstractContextManager[None]:
    """A context that does not count as training time; nothing changes for a trainer without a stopwatch."""
    stopwatch = getattr(trainer, "stopwatch", None)
    return nullcontext() if stopwatch is None else stopwatch.paused()


def wait_for_device() -> None:
    """Wait until a GPU has done all it was given."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
