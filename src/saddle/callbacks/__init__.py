"""What happens beside the steps: scores, sample grids, logged scalars, the progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer


def record(trainer: Trainer, scalars: Mapping[str, float], iteration: int) -> None:
    """Hand scalars of an iteration to every logger, and keep the latest of each name in `model.scores`.

    They are in `trainer.callback_metrics` too, where Lightning's own callbacks look. Call it on every process with
    global values; only process 0 writes.
    """
    if not scalars:
        return
    model: Any = trainer.lightning_module
    model.scores.update(scalars)
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in scalars.items()})
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            logger.log_metrics(dict(scalars), step=iteration)


def record_image(trainer: Trainer, name: str, path: Path, iteration: int) -> None:
    """Show a picture file of an iteration on the loggers that show pictures; call it on process 0."""
    for logger in loggers_with(trainer, "log_image"):
        logger.log_image(name, [str(path)], step=iteration)


def loggers_with(trainer: Trainer, method: str) -> list[Any]:
    """The loggers of a run that have a method which not all have: log_image, log_histograms."""
    return [logger for logger in trainer.loggers if hasattr(logger, method)]
