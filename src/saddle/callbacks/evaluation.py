"""Scores during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchmetrics import Metric

from saddle.callbacks import record
from saddle.callbacks.intervals import AtIntervals
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.features import ClassifierExtractor
from saddle.run.stopwatch import paused


class Evaluation(AtIntervals):
    """Scores the moving average of the generator against the training set, and records ``eval/<metric>``.

    An evaluation is to other callbacks what Lightning calls a validation: their `on_validation_end` follows, after that
    of the last of several, so that EarlyStopping and ModelCheckpoint work. What the metrics' extractors need is fetched
    before training starts, so that a missing file fails at once.

    Args:
        metrics: by name; without any, nothing happens.
        every: iterations between two evaluations; 0 for only one at the end.
        samples: generated images per evaluation, at least 2; the same latents every time.
        batch: images per pass.
    """

    at_end = True
    extractor: ClassifierExtractor | None = None  # the data's classifier, where scores need it

    def __init__(self, metrics: Mapping[str, Metric], every: int, samples: int = 10_000, batch: int = 250):
        super().__init__(every)
        self.evaluator = Evaluator(metrics, samples, batch)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.evaluator.prepare(trainer.datamodule)

    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        """Score and record; every process takes part, and none of it counts as training time."""
        with paused(trainer):
            record(trainer, self.scores(pl_module, trainer.datamodule), pl_module.iteration)
            if [each for each in trainer.callbacks if isinstance(each, Evaluation)][-1:] == [self]:
                for callback in trainer.callbacks:
                    callback.on_validation_end(trainer, pl_module)

    def scores(self, model: Any, data: Any) -> dict[str, float]:
        """What to record of a model, by name."""
        return self.evaluator.measure(model, data).scores
