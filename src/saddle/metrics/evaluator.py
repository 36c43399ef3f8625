"""Scoring a model: features are extracted once per image for all metrics that share an extractor."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from saddle.distributed import barrier, broadcast_object, rank, world_size
from saddle.errors import InputError
from saddle.metrics.base import ImageMetric
from saddle.metrics.cache import StatisticsCache, digest
from saddle.metrics.features import FeatureExtractor
from saddle.metrics.sources import ImageSource, ModelSource, SetSource
from saddle.randomness import Rows

if TYPE_CHECKING:
    from saddle.data.base import DataModule


@dataclass(frozen=True)
class Scores:
    """The outcome of an evaluation.

    Attributes:
        scalars: by name, ``eval/<metric>``.
        vectors: what is not a single number, e.g. the share of every class.
        real: number of real images.
        fake: number of fake images.
        extractors: fingerprint by the extractor's name.
    """

    scalars: dict[str, float]
    vectors: dict[str, list[float]] = field(default_factory=dict)
    real: int = 0
    fake: int = 0
    extractors: dict[str, str] = field(default_factory=dict)


class Evaluator:
    """Computes metrics of fake images against real ones, on one process or many with the same result.

    The images are cut into batches, and every process takes a contiguous run of whole batches, so each image is
    processed in the same company however many processes there are. An `ImageMetric` gets features, and its statistics
    of the real images are cached on disk; any other torchmetrics Metric gets the images: ``update(images, real=...)``,
    or ``update(images)`` with the fake ones only. Such a metric sees RGB images, uint8, or float in [0, 1] where it
    was made with ``normalize=True``; one that keeps its real side (``reset_real_features=False``) is shown it once.

    Args:
        metrics: by name; moved to the model's device when they are used.
        samples: number of generated images, at least 2.
        batch: images per pass.
        cache: of real statistics; null: in the cache folder.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        samples: int = 10_000,
        batch: int = 250,
        cache: StatisticsCache | None = None,
    ):
        if samples < 2:
            raise InputError(f"evaluation.samples={samples}: scores need at least 2 images")
        if batch < 1:
            raise InputError(f"a batch of {batch} images: choose at least 1")
        self.metrics, self.samples, self.batch = dict(metrics), samples, batch
        self.cache = cache or StatisticsCache()
        self._shown: dict[str, str | None] = {}  # stock metrics that keep the real side, by the source they saw

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Get what the extractors need (weights to download or train), so that a run fails before it trains.

        Every process must call it; one per machine works.
        """
        if rank() == 0:
            for extractor in self._extractors().values():
                extractor.prepare(datamodule)
        barrier()

    def evaluate(
        self, model: Any, datamodule: DataModule, seed: int = 0, ema: bool = True, truncation: float | None = None
    ) -> dict[str, float]:
        """The scalars of `measure` for a model's samples against the training set."""
        return self.measure(model, datamodule, seed, ema, truncation).scalars

    def measure(
        self, model: Any, datamodule: DataModule, seed: int = 0, ema: bool = True, truncation: float | None = None
    ) -> Scores:
        """Score a model's samples against the training set. Every process must call it.

        Args:
            model: has `sample`, `conditional` and `device`.
            datamodule: set up; its whole training set is the reference.
            seed: of the samples.
            ema: whether the moving average of the generator is scored.
            truncation: of the latents, null for none.
        """
        fake = ModelSource(model, self.samples, seed, ema, truncation)
        return self.compare(SetSource(datamodule.train_set, datamodule.classes), fake, model.device)

    def compare(self, real: ImageSource, fake: ImageSource, device: torch.device | str = "cpu") -> Scores:
        """Score `fake` against `real` images. Every process must call it."""
        if not self.metrics:
            return Scores({})
        for source in (real, fake):
            if len(source) < 2:
                raise InputError(f"{source.name}: {len(source)} images; scores need at least 2")
        _check_shapes(real, fake)
        for metric in self.metrics.values():
            metric.to(device)
            metric.reset()
        with torch.no_grad():
            self._see_real(real, device)
            self._see(fake, False, self.metrics, device)
            scores = self._scores(len(real), len(fake))
        for metric in self.metrics.values():
            metric.reset()
        return scores

    def _see_real(self, source: ImageSource, device: torch.device | str) -> None:
        """Show the real images to the metrics whose statistics of them are not known."""
        fingerprint = source.fingerprint()
        keys = {name: self._key(metric, fingerprint) for name, metric in self.metrics.items()}
        unknown = {name: m for name, m in self.metrics.items() if not self._known(name, m, keys[name], fingerprint)}
        self._see(source, True, unknown, device)
        for name, metric in unknown.items():
            key = keys[name]
            if isinstance(metric, ImageMetric) and key:
                with metric.sync_context(should_sync=world_size() > 1):
                    if rank() == 0:
                        self.cache.write(key, metric.real_states())
        barrier()

    def _key(self, metric: Metric, fingerprint: str | None) -> str | None:
        if fingerprint is None or not isinstance(metric, ImageMetric):
            return None
        return digest(fingerprint, metric.extractor.fingerprint, type(metric).__qualname__, metric.settings())

    def _known(self, name: str, metric: Metric, key: str | None, source: str | None) -> bool:
        """Whether the metric needs no real image: it takes none, kept them, or the cache has its statistics."""
        if not isinstance(metric, ImageMetric):
            return not _takes_real(metric) or self._kept(name, metric, source)
        states = self.cache.read(key) if key and rank() == 0 else None
        states = broadcast_object(states)
        return states is not None and metric.load_real_states(states, rank(), world_size())

    def _kept(self, name: str, metric: Metric, source: str | None) -> bool:
        if getattr(metric, "reset_real_features", True):
            return False
        if name not in self._shown:
            self._shown[name] = source
            return False
        if source is None or self._shown[name] != source:
            raise InputError(f"{name} keeps its first real images: make it with reset_real_features=true for others")
        return True

    def _see(self, source: ImageSource, real: bool, metrics: Mapping[str, Metric], device: torch.device | str) -> None:
        """Update the metrics with this process's part of the images."""
        if not metrics:
            return
        extractors = self._extractors()
        for rows in blocks(len(source), self.batch, rank(), world_size()):
            images, labels = source.read(rows.start, rows.stop)
            images = images.to(device)
            outputs = {
                key: extractors[key](images)
                for key in {m.extractor.key for m in metrics.values() if isinstance(m, ImageMetric)}
            }
            for metric in metrics.values():
                if isinstance(metric, ImageMetric):
                    metric.update_features(outputs[metric.extractor.key], real, labels, rows)
                else:
                    _update_stock(metric, images, real)

    def _extractors(self) -> dict[str, FeatureExtractor]:
        """One extractor of each kind: two metrics that were configured alike share one."""
        found: dict[str, FeatureExtractor] = {}
        for metric in self.metrics.values():
            if isinstance(metric, ImageMetric):
                found.setdefault(metric.extractor.key, metric.extractor)
        return found

    def _scores(self, real: int, fake: int) -> Scores:
        scalars: dict[str, float] = {}
        vectors: dict[str, list[float]] = {}
        for name, metric in self.metrics.items():
            for key, value in _results(name, metric.compute()):
                if value.numel() == 1:
                    scalars[key] = float(value)
                else:
                    vectors[key] = value.double().flatten().tolist()
        fingerprints = {extractor.name: extractor.fingerprint for extractor in self._extractors().values()}
        return Scores(scalars, vectors, real, fake, fingerprints)


def blocks(total: int, batch: int, rank: int, world: int) -> Iterator[Rows]:
    """The batches of one process: a contiguous run of whole batches of the global order."""
    count = -(-total // batch)
    for block in range(count * rank // world, count * (rank + 1) // world):
        yield Rows(block * batch, min((block + 1) * batch, total), total)


def _results(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Names and values of what a metric computed: a number, (mean, standard deviation), or a dict."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"eval/{name}{key}" if not key or key.startswith("_") else f"eval/{key}", torch.as_tensor(part)
    elif isinstance(value, tuple | list):
        suffixes = ("", "_std") if len(value) == 2 else tuple(f"_{i}" for i in range(len(value)))
        for suffix, part in zip(suffixes, value, strict=True):
            yield f"eval/{name}{suffix}", torch.as_tensor(part)
    else:
        yield f"eval/{name}", torch.as_tensor(value)


def _takes_real(metric: Metric) -> bool:
    return "real" in inspect.signature(metric.update).parameters


def _update_stock(metric: Metric, images: Tensor, real: bool) -> None:
    """Show images to a torchmetrics metric in the form it was made for."""
    if not getattr(metric, "used_custom_model", False):
        images = images.expand(-1, 3, -1, -1)
    if getattr(metric, "normalize", False):
        images = images.float() / 255
    if _takes_real(metric):
        metric.update(images, real=real)
    elif not real:
        metric.update(images)


def _check_shapes(real: ImageSource, fake: ImageSource) -> None:
    shapes = [list(source.read(0, 1)[0].shape[1:]) for source in (real, fake)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{real.name} has images of {shapes[0]}, {fake.name} of {shapes[1]} (channels, height, width): "
            "make them alike"
        )
