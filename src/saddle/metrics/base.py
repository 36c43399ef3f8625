"""What a metric of generated images is.

An `ImageMetric` is a torchmetrics Metric whose `update(images, real=...)` extracts features itself, so it works alone
anywhere; the evaluator extracts them once for all metrics of the same extractor and calls `update_features`. A
`FeatureMetric` is one that needs the features themselves, not sums over them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from saddle.errors import InputError
from saddle.metrics.features import FeatureExtractor, FeatureOutputs, check_images
from saddle.randomness import Rows

REAL = "real_"  # states of the real side have this prefix: they can be cached and put back
TEST = "test_"  # so do those of real images that no model was trained on


class ImageMetric(Metric):
    """A score of fake images against real ones, on the outputs of a feature extractor.

    A subclass adds its states (those of the real side named ``real_...``), and defines `accumulate` and `compute`.
    `compute` returns a scalar, or a dict of scalars and vectors, in which a key that is empty or begins with ``_`` is
    appended to the metric's name and any other key is a name of its own.

    Args:
        extractor: what turns images into features and logits.
        kwargs: of torchmetrics.Metric.

    Attributes:
        reads_test: whether it also needs real images outside the training set, given to `update_test`; their states
            are named ``test_...``.
    """

    full_state_update = False
    is_differentiable = False
    reads_test: ClassVar[bool] = False

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        super().__init__(**kwargs)
        self.extractor = extractor

    def update(
        self,
        images: Tensor | FeatureOutputs,
        real: bool,
        labels: Tensor | None = None,
        rows: Rows | None = None,
    ) -> None:
        """Take in a batch.

        Args:
            images: uint8 [N, C, H, W], or what the extractor made of them.
            real: whether they are real images.
            labels: int64 [N], the class a fake was asked to be or a real image is.
            rows: their positions in the whole set, for metrics that split it; null: they follow those before.
        """
        if isinstance(images, FeatureOutputs):
            outputs = images
        else:
            check_images(images)
            outputs = self.extractor(images)
        self.accumulate(outputs, real, labels, rows)

    def update_features(
        self, outputs: FeatureOutputs, real: bool, labels: Tensor | None = None, rows: Rows | None = None
    ) -> None:
        """`update` on what the extractor already made of the images."""
        self.update(outputs, real, labels, rows)

    def update_test(self, outputs: FeatureOutputs, rows: Rows | None = None) -> None:
        """Take in a batch of real images outside the training set; only where `reads_test`."""
        raise NotImplementedError(f"{type(self).__name__} reads no test images")

    @abstractmethod
    def accumulate(self, outputs: FeatureOutputs, real: bool, labels: Tensor | None, rows: Rows | None) -> None:
        """Add a batch to the states of its side."""

    @property
    def statistics(self) -> str:
        """What the states of the real side are: metrics that name the same ones share the cache's files."""
        return type(self).__qualname__

    def settings(self) -> str:
        """Whatever changes the states of the real side beside images and extractor; part of the cache's key."""
        return ""

    def real_states(self, prefix: str = REAL) -> dict[str, Tensor]:
        """The real side (or the test side) of this process: states that are sums, or rows concatenated."""
        return {name: dim_zero_cat(getattr(self, name)) for name in self._defaults if name.startswith(prefix)}

    def load_real_states(self, states: Mapping[str, Tensor], rank: int = 0, world: int = 1, prefix: str = REAL) -> bool:
        """Put the real side of all processes back; False (and nothing changed) if it does not fit this metric.

        Sums go to the first process; of rows every process gets a contiguous part.
        """
        expected = {name: default for name, default in self._defaults.items() if name.startswith(prefix)}
        if states.keys() != expected.keys():
            return False
        if any(isinstance(x, Tensor) and x.shape != states[name].shape for name, x in expected.items()):
            return False
        for name, default in expected.items():
            value = states[name].to(self.device)
            if isinstance(default, list):
                setattr(self, name, [value[len(value) * rank // world : len(value) * (rank + 1) // world]])
            else:
                setattr(self, name, value if rank == 0 else torch.zeros_like(value))
        return True

    def _sync_dist(self, dist_sync_fn: Any = gather_all_tensors, process_group: Any = None) -> None:
        if dist.is_available() and dist.is_initialized():
            self._fill_empty(process_group)
        super()._sync_dist(dist_sync_fn, process_group)

    def _fill_empty(self, group: Any) -> None:
        """Give a process that saw no rows an empty tensor of the others' shape, without which gathering hangs."""
        lists = {name: getattr(self, name) for name, default in self._defaults.items() if isinstance(default, list)}
        mine = {name: (tuple(x[0].shape[1:]), x[0].dtype) for name, x in lists.items() if len(x)}
        everyone: list[Any] = [None] * dist.get_world_size(group)
        dist.all_gather_object(everyone, mine, group=group)
        known = {name: found for part in everyone for name, found in part.items()}
        for name in known.keys() - mine.keys():
            shape, dtype = known[name]
            setattr(self, name, [torch.empty((0, *shape), dtype=dtype, device=self.device)])


class FeatureMetric(ImageMetric):
    """An `ImageMetric` that keeps the features of all images, with the positions of the images in the whole set.

    `gathered` gives them in the order of the set, so that what is computed of them does not depend on the number of
    processes. 50,000 images with 2,048 features take 410 MB a side; metrics that are updated with the same batches
    share that memory, and all of an extractor share one file in the cache.

    Args:
        extractor: gives the features.
        kwargs: of torchmetrics.Metric.

    Attributes:
        sides: whose features are kept: of "real", "fake" and "test".
        labelled: whether the labels are kept too; an update without them is refused.
    """

    sides: ClassVar[tuple[str, ...]] = ("real", "fake")
    labelled: ClassVar[bool] = False

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        super().__init__(extractor, **kwargs)
        for side in self.sides:
            for part in ("features", "rows", *(("labels",) if self.labelled else ())):
                self.add_state(f"{side}_{part}", [], dist_reduce_fx="cat")

    @property
    def statistics(self) -> str:
        """The features, with labels or without."""
        return "labelled features" if self.labelled else "features"

    def accumulate(self, outputs: FeatureOutputs, real: bool, labels: Tensor | None, rows: Rows | None) -> None:
        """Keep the features of a batch."""
        self.keep("real" if real else "fake", outputs.features, labels, rows)

    def update_test(self, outputs: FeatureOutputs, rows: Rows | None = None) -> None:
        """Keep the features of a batch outside the training set; only where `reads_test`."""
        if not self.reads_test:
            super().update_test(outputs, rows)
        self.keep("test", outputs.features, None, rows)

    def keep(self, side: str, features: Tensor, labels: Tensor | None, rows: Rows | None) -> None:
        """Add a batch [N, ...] to a side, at the positions `rows`, or after those before."""
        if self.labelled:
            if labels is None:
                raise InputError(
                    f"{type(self).__name__} needs a label of every {side} image: choose a conditional model and "
                    "labelled data"
                )
            getattr(self, f"{side}_labels").append(labels.to(features.device))
        start = rows.start if rows is not None else sum(len(x) for x in getattr(self, f"{side}_rows"))
        positions = torch.arange(start, start + len(features), device=features.device)
        getattr(self, f"{side}_features").append(features)
        getattr(self, f"{side}_rows").append(positions)

    def gathered(self, side: str, part: str = "features", least: int = 2) -> Tensor:
        """The features [n, F] or the labels [n] of a side in the order of the set; at least `least` of them."""
        rows, values = getattr(self, f"{side}_rows"), getattr(self, f"{side}_{part}")
        require_images(sum(len(x) for x in rows) if isinstance(rows, list) else len(rows), side, least)
        rows, values = dim_zero_cat(rows), dim_zero_cat(values)
        if bool((rows.diff() >= 0).all()):
            return values
        return values[rows.argsort(stable=True)]


def require_images(count: float | Tensor, side: str, least: int = 2) -> None:
    """Refuse to score fewer than `least` images."""
    if int(count) < least:
        raise InputError(f"{int(count)} {side} images: a score needs at least {least}")
