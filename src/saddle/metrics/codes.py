"""Whether a code that was learned without labels means the same as a label."""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from saddle.metrics.base import GatheringMetric, require_images


class CodeAccuracy(GatheringMetric):
    """The share of samples whose code says their class, under the best one-to-one assignment of values to classes.

    Which value stands for which class is chosen by all samples that were counted (the Hungarian method), so the score
    is that of the best naming. Where there are more values than classes, or fewer, the surplus counts as wrong.

    Args:
        values: number of values of the code.
        classes: number of classes.

    Raises:
        InputError: from `compute`, before any sample was counted.
    """

    counts: Tensor

    def __init__(self, values: int, classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(values, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, codes: Tensor, labels: Tensor) -> None:
        """Count codes in [0, values) and labels in [0, classes), both int64 [N]."""
        values, classes = self.counts.shape
        pairs = codes.to(self.counts.device) * classes + labels.to(self.counts.device)
        self.counts += torch.bincount(pairs, minlength=values * classes).view(values, classes)

    def compute(self) -> Tensor:
        """In [0, 1]; the code that is drawn without looking scores about one over the number of classes."""
        total = self.counts.sum()
        require_images(total, "labelled", least=1)
        value, label = linear_sum_assignment(self.counts.cpu().numpy(), maximize=True)
        return self.counts[torch.as_tensor(value), torch.as_tensor(label)].sum() / total
