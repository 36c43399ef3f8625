"""What a metric of a model is, where images alone are not enough."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torchmetrics import Metric

from saddle.randomness import Rows


class ModelMetric(Metric):
    """A score of a generator itself. The evaluator hands it the model, batch by batch, as many as it draws samples."""

    full_state_update = False
    is_differentiable = False

    @abstractmethod
    def update(self, model: Any, rows: Rows, *, seed: int, ema: bool, truncation: float | None) -> None:
        """Take in the samples `rows` of a model.

        Args:
            model: a `saddle.models.base.GAN`.
            rows: the numbers of the samples.
            seed: of the samples.
            ema: whether the moving average of the generator is scored.
            truncation: of the latents, null for none.
        """
