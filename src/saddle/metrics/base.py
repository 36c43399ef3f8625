"""What a metric of generated images is.

A `Statistic` is what is kept of the images of one side: the real ones, the fakes, or the test images, which no model
was trained on. An `ImageMetric` says which statistic it keeps of each side and what it computes of them; it extracts
features itself, so it works alone anywhere, and the evaluator extracts them once for all metrics of one extractor. A
`ModelMetric` reads the model, where images alone are not enough.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from saddle.errors import InputError
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.randomness import Rows


class Statistic(ABC):
    """What a metric keeps of the images of one side.

    Attributes:
        name: metrics whose statistics have one name and the same settings share the files of the cache.
        settings: whatever changes the states beside images and extractor.
        labelled: whether it needs a label of every image; an update without labels is refused.
    """

    name: str
    settings = ""
    labelled = False

    @abstractmethod
    def empty(self) -> dict[str, Tensor | list[Tensor]]:
        """The states before the first image, by name: zeros of a sum over images, or an empty list of rows of them."""

    @abstractmethod
    def add(self, states: dict[str, Any], outputs: FeatureOutputs, labels: Tensor | None, rows: Rows | None) -> None:
        """Add a batch to the states, in place; see `ImageMetric.update`."""


class Features(Statistic):
    """The features of all images, with the positions of the images in the whole set; see `ImageMetric.gathered`.

    50,000 images with 2,048 features take 410 MB; metrics that are updated with the same batches share that memory, and
    all of an extractor share one file in the cache.

    Args:
        labelled: keep the labels too.
    """

    def __init__(self, labelled: bool = False):
        self.labelled = labelled
        self.name = "labelled features" if labelled else "features"

    def empty(self) -> dict[str, Tensor | list[Tensor]]:
        return {name: [] for name in ("features", "rows", *(("labels",) if self.labelled else ()))}

    def add(self, states: dict[str, Any], outputs: FeatureOutputs, labels: Tensor | None, rows: Rows | None) -> None:
        features = outputs.features
        start = rows.start if rows is not None else sum(map(len, states["rows"]))
        states["rows"].append(torch.arange(start, start + len(features), device=features.device))
        states["features"].append(features)
        if self.labelled:
            assert labels is not None
            states["labels"].append(labels.to(features.device))


class GatheringMetric(Metric):
    """A torchmetrics Metric of which a process may have seen nothing."""

    full_state_update = False

    def _sync_dist(self, dist_sync_fn: Any = gather_all_tensors, process_group: Any = None) -> None:
        """Give a process that saw no rows an empty tensor of the others' shape, without which gathering hangs."""
        lists = {name: getattr(self, name) for name, default in self._defaults.items() if isinstance(default, list)}
        mine = {name: (tuple(x[0].shape[1:]), x[0].dtype) for name, x in lists.items() if len(x)}
        everyone: list[Any] = [None] * dist.get_world_size(process_group)
        dist.all_gather_object(everyone, mine, group=process_group)
        known = {name: found for part in everyone for name, found in part.items()}
        for name in known.keys() - mine.keys():
            shape, dtype = known[name]
            setattr(self, name, [torch.empty((0, *shape), dtype=dtype, device=self.device)])
        super()._sync_dist(dist_sync_fn, process_group)


class ImageMetric(GatheringMetric):
    """A score of fake images against real ones, on the outputs of a feature extractor.

    A subclass defines `compute`, which reads `states` or `gathered`. It returns a scalar, or a dict of scalars and
    vectors, in which a key that is empty or begins with ``_`` is appended to the metric's name and any other key is a
    name of its own. Its constructor takes `extractor` and `kwargs` as here, and its own arguments, which it documents.

    Args:
        extractor: what turns images into features and logits.
        real: what is kept of the real images.
        fake: what is kept of the fakes; null: the same.
        test: what is kept of real images outside the training set; null: it needs none.
        kwargs: of torchmetrics.Metric.

    Attributes:
        sides: the statistics by side: "real", "fake" and, for those that need it, "test".
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        real: Statistic,
        fake: Statistic | None = None,
        test: Statistic | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.extractor = extractor
        self.sides = {"real": real, "fake": fake or real} | ({"test": test} if test else {})
        for side, statistic in self.sides.items():
            for name, empty in statistic.empty().items():
                self.add_state(f"{side}_{name}", empty, dist_reduce_fx="cat" if isinstance(empty, list) else "sum")

    def update(
        self,
        images: Tensor | FeatureOutputs,
        real: bool,
        labels: Tensor | None = None,
        rows: Rows | None = None,
        test: bool = False,
    ) -> None:
        """Take in a batch.

        Args:
            images: uint8 [N, C, H, W], or what the extractor made of them.
            real: whether they are real images.
            labels: int64 [N], the class a fake was asked to be or a real image is.
            rows: their positions in the whole set, for metrics that split it; null: they follow those before.
            test: whether they are real images outside the training set.
        """
        side = "test" if test else "real" if real else "fake"
        if side not in self.sides:
            raise NotImplementedError(f"{type(self).__name__} reads no test images")
        if self.sides[side].labelled and labels is None:
            raise InputError(
                f"{type(self).__name__} needs a label of every {side} image: choose a conditional model and "
                "labelled data"
            )
        outputs = images if isinstance(images, FeatureOutputs) else self.extractor(images)
        self.sides[side].add(self.states(side), outputs, labels, rows)

    def states(self, side: str) -> dict[str, Any]:
        """What is kept of a side, by the statistic's own names; in `compute` that of all processes."""
        start = f"{side}_"
        return {name.removeprefix(start): getattr(self, name) for name in self._defaults if name.startswith(start)}

    def gathered(self, side: str, part: str = "features", least: int = 2) -> Tensor:
        """The features [n, F] or the labels [n] of a side in the order of the set; at least `least` of them.

        What is computed of them does not depend on the number of processes. Only where the statistic is `Features`.
        """
        states = self.states(side)
        rows, values = states["rows"], states[part]
        require_images(sum(map(len, rows)) if isinstance(rows, list) else len(rows), side, least)
        rows, values = dim_zero_cat(rows), dim_zero_cat(values)
        return values if bool((rows.diff() >= 0).all()) else values[rows.argsort(stable=True)]

    def cached_states(self, side: str) -> dict[str, Tensor]:
        """What the cache holds of a side, by the names of this metric's states: sums, or rows concatenated."""
        return {f"{side}_{name}": dim_zero_cat(value) for name, value in self.states(side).items()}

    def load_states(self, side: str, states: Mapping[str, Tensor], rank: int = 0, world: int = 1) -> bool:
        """Put a side of all processes back; False (and nothing changed) if it does not fit this metric.

        Sums go to the first process; of rows every process gets a contiguous part.
        """
        expected = {name: default for name, default in self._defaults.items() if name.startswith(f"{side}_")}
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


class ModelMetric(GatheringMetric):
    """A score of a generator itself. The evaluator hands it the model, batch by batch, as many as it draws samples."""

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


def require_images(count: float | Tensor, side: str, least: int = 2) -> None:
    """Refuse to score fewer than `least` images."""
    if int(count) < least:
        raise InputError(f"{int(count)} {side} images: a score needs at least {least}")
