"""When a run ends, and what is written down about it."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger

from saddle.run import signals
from saddle.run.folder import RunFolder
from saddle.run.status import status_of
from saddle.run.stopwatch import Stopwatch
from saddle.run.writer import TIMING, CsvWriter

WARM_UP = 3  # iterations of a process that its speed leaves out
FRECHET = ("eval/fid", "eval/frechet")
CLASSES, REAL_CLASSES = "eval/classes", "eval/classes_real"  # exp(entropy of the class histogram), of fake and real
COLLAPSED_CLASSES = 0.5  # of the real set's
COLLAPSED_FRECHET = 10.0  # times the run's best
GRACE_SECONDS = 5.0


class Life(Callback):
    """Ends a run when its iterations are reached, its minutes are up, a signal or the wish of another callback came
    (`trainer.should_stop`, as EarlyStopping sets it); writes results.json.

    Comes after all callbacks but the Checkpointer. Of several processes each votes in `module.stop_vote`; the module
    hands back the sum, the same everywhere, in `module.stop_votes`, so that all end at the same iteration. Of the
    module it reads what `saddle.models.base.GAN` says of the run: iteration, kimg, scores, skipped, warnings.

    Args:
        folder: of the run.
        iterations: at which the run ends, or None.
        minutes: of training after which the run ends, or None.
        log_every: iterations between two rows of timing.csv.
    """

    def __init__(self, folder: RunFolder, iterations: int | None, minutes: float | None, log_every: int):
        self.folder, self.iterations, self.minutes, self.log_every = folder, iterations, minutes, log_every
        self.status = "done"  # how the run ended; or "preempted", or "interrupted"
        self.stopwatch = Stopwatch()  # runs while training does
        self.best_frechet: float | None = None
        self.peak_memory = 0
        self._steps = 0  # of this process
        self._shown = 0.0  # images of the whole run
        self._warm: tuple[float, float] | None = None  # images and seconds when the warm-up was over

    def state_dict(self) -> dict[str, Any]:
        """What the next process of this run must know."""
        return {
            "seconds": self.stopwatch.seconds,
            "best_frechet": self.best_frechet,
            "peak_memory": max(self.peak_memory, peak_memory()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier process of this run."""
        self.stopwatch.before = state_dict["seconds"]
        self.best_frechet, self.peak_memory = state_dict["best_frechet"], state_dict["peak_memory"]

    # ------------------------------------------------------------------------------------------------ Lightning's hooks

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Let others pause the stopwatch: `with trainer.stopwatch.paused()`."""
        trainer.stopwatch = self.stopwatch  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Let the files go on where the checkpoint was written."""
        for logger in trainer.loggers:
            if isinstance(logger, CsvWriter):
                logger.start(pl_module.iteration)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the signals back from Lightning, and start the clock; end at once if there is nothing to do."""
        signals.install()
        signals.arm(True)
        if self.reached(pl_module.iteration) or self.time_is_up():
            trainer.should_stop = True
        elif not trainer.should_stop:
            self.stopwatch.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        """Count, and end the run where it is time."""
        self._steps += 1
        self._shown = 1000 * pl_module.kimg
        if self._steps == WARM_UP:
            self._warm = (self._shown, self.stopwatch.seconds)
        iteration = pl_module.iteration
        self.see_scores(pl_module)
        if iteration % self.log_every == 0:
            self.log_timing(trainer.loggers, iteration)
        if status := self.end(trainer, pl_module, iteration):
            self.status = status
            if status != "done":
                signals.agree(status)
            trainer.should_stop = True
            self.stopwatch.stop()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Take note of the final scores, and of a signal that has cut the last evaluation short."""
        self.status = signals.agreed() or self.status
        self.stopwatch.stop()
        self.see_scores(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write results.json."""
        signals.arm(False)
        if trainer.is_global_zero:
            self.folder.record(status=self.status, error=None, **self.figures(pl_module))

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write results.json, then let no process of this run outlive this one."""
        signals.arm(False)
        self.stopwatch.stop()
        status = status_of(exception)
        if trainer.is_global_zero:
            with suppress(OSError):  # a full disk; `end` reports it
                self.folder.record(**{**self.figures(pl_module), "diverged": status == "nonfinite"})
        self.folder.end(status, exception, trainer.is_global_zero)
        for process in getattr(trainer.strategy.launcher, "procs", []):
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            process.kill()  # if it has not ended

    # --------------------------------------------------------------------------------------------------- when to end

    def end(self, trainer: Trainer, module: Any, iteration: int) -> str | None:
        """How the run ends now, or None; the same on every process."""
        if signals.agreed():
            return signals.agreed()
        if self.reached(iteration) or trainer.should_stop:
            return "done"
        wish = signals.received() or ("done" if self.time_is_up() else None)
        if trainer.world_size == 1:
            return wish
        module.stop_vote = signals.vote(wish)
        return signals.elected(module.stop_votes)

    def reached(self, iteration: int) -> bool:
        """Whether the run has all its iterations."""
        return self.iterations is not None and iteration >= self.iterations

    def time_is_up(self) -> bool:
        """Whether the run has had all its minutes."""
        return self.minutes is not None and self.stopwatch.seconds >= 60 * self.minutes

    # ----------------------------------------------------------------------------------------------- what to write down

    def see_scores(self, module: Any) -> None:
        """Keep the best Frechet distance of the run."""
        frechet = frechet_of(module.scores)
        if frechet is not None and frechet == frechet:
            self.best_frechet = frechet if self.best_frechet is None else min(self.best_frechet, frechet)

    def log_timing(self, loggers: list[Logger], iteration: int) -> None:
        """A row of timing.csv."""
        row = {f"{TIMING}seconds": self.stopwatch.seconds, f"{TIMING}images_per_second": self.images_per_second()}
        known = {name: value for name, value in row.items() if value is not None}
        for logger in loggers:
            logger.log_metrics(known, iteration)

    def images_per_second(self) -> float | None:
        """Real images per second of training, the warm-up left out; None before its end."""
        if self._warm is None or self._shown <= self._warm[0]:
            return None
        images, seconds = self._shown - self._warm[0], self.stopwatch.seconds - self._warm[1]
        return images / seconds if seconds > 0 else None

    def figures(self, module: Any) -> dict[str, Any]:
        """What results.json says of the run."""
        scores = {name: float(value) for name, value in module.scores.items()}
        players = {"generator": module.generator, "discriminator": module.discriminator}
        return {
            "iterations": module.iteration,
            "kimg": module.kimg,
            "seconds": self.stopwatch.seconds,
            "images_per_second": self.images_per_second(),
            **{f"parameters/{name}": sum(p.numel() for p in net.parameters()) for name, net in players.items()},
            "peak_memory_bytes": max(self.peak_memory, peak_memory()),
            **{name: value for name, value in scores.items() if name.startswith("eval/")},
            "skipped_steps": module.skipped,
            "diverged": any(value != value for value in scores.values()),
            "collapsed": collapsed(scores, self.best_frechet),
            "warnings": list(module.warnings),
        }


def frechet_of(scores: Mapping[str, float]) -> float | None:
    """The Frechet distance among scores."""
    return next((float(scores[name]) for name in FRECHET if name in scores), None)


def collapsed(scores: Mapping[str, float], best_frechet: float | None) -> bool:
    """Whether the generator has collapsed, by its final scores and the run's best Frechet distance.

    It has if the classes that it draws (exp of the entropy of their histogram) are under half of the real set's, or its
    Frechet distance is over ten times the run's best.
    """
    if CLASSES in scores and REAL_CLASSES in scores and scores[CLASSES] < COLLAPSED_CLASSES * scores[REAL_CLASSES]:
        return True
    final = frechet_of(scores)
    return final is not None and best_frechet is not None and final > COLLAPSED_FRECHET * best_frechet


def peak_memory() -> int:
    """Bytes: of the GPU where there is one in use, else of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
