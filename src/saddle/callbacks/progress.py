"""The progress bar: iterations, images per second, losses and time left."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class ProgressBar(Callback):
    """A live bar in a terminal, a line every `every` iterations elsewhere; only process 0 shows it.

    Args:
        iterations: of the whole run, or None.
        minutes: of the whole run, or None.
        every: iterations between two lines where there is no terminal.
    """

    def __init__(self, iterations: int | None, minutes: float | None, every: int):
        self.iterations, self.minutes, self.every = iterations, minutes, every
        self.console = Console(stderr=False)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._drawn = 0.0
        self._since: tuple[float, float] | None = None  # kimg and seconds from which the speed counts

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero and self.console.is_terminal:
            columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%")]
            self._progress = Progress(*columns, console=self.console, auto_refresh=False)
            self._task = self._progress.add_task("starting", total=1.0)
            self._progress.start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Redraw a few times a second, or print a line where an interval ends."""
        if not trainer.is_global_zero:
            return
        if self._since is None:
            self._since = pl_module.kimg, trainer.stopwatch.seconds
        if self._progress is None:
            if pl_module.iteration % self.every == 0:
                self.console.print(self.text(trainer, pl_module), highlight=False, soft_wrap=True)
        elif (now := time.monotonic()) - self._drawn > 0.2:
            self._drawn = now
            text, done = self.text(trainer, pl_module), self.done(trainer, pl_module)
            self._progress.update(self._task, description=text, completed=done, refresh=True)

    def done(self, trainer: Any, pl_module: Any) -> float:
        """The finished share of the run, 0 to 1: by whichever of iterations and minutes is further."""
        shares = [0.0]
        if self.iterations:
            shares.append(pl_module.iteration / self.iterations)
        if self.minutes:
            shares.append(trainer.stopwatch.seconds / (60 * self.minutes))
        return min(max(shares), 1.0)

    def text(self, trainer: Any, pl_module: Any) -> str:
        """The line of numbers; the speed leaves the first iteration out."""
        assert self._since is not None
        kimg, start = self._since
        seconds, scores = trainer.stopwatch.seconds, pl_module.scores
        speed = 1000 * (pl_module.kimg - kimg) / (seconds - start) if seconds > start else 0.0
        of = f"/{self.iterations}" if self.iterations else ""
        parts = [f"iteration {pl_module.iteration}{of}", f"{speed:.0f} images/s"]
        names = {"train/d_loss": "d_loss", "train/g_loss": "g_loss", "eval/frechet": "frechet", "eval/fid": "fid"}
        parts += [f"{short} {scores[name]:.3f}" for name, short in names.items() if name in scores]
        done = self.done(trainer, pl_module)
        if done > 0:
            left = round(seconds * (1 / done - 1))
            parts.append(f"{left // 60}:{left % 60:02d} left")
        return "  ".join(parts)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the last state of the bar on the screen."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Give the terminal back before an error is printed."""
        self.on_train_end(trainer, pl_module)
