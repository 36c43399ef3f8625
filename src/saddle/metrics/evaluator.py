"""Scoring a model: features are extracted once per image for all metrics that share an extractor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from saddle.data.base import DataModule
from saddle.distributed import barrier, broadcast_object, rank, world_size
from saddle.errors import InputError
from saddle.metrics.base import ImageMetric, ModelMetric
from saddle.metrics.cache import StatisticsCache, digest
from saddle.metrics.features import FeatureExtractor
from saddle.metrics.sources import ImageSource, ModelSource, SetSource
from saddle.randomness import Rows
from saddle.run.cut import give_way


@dataclass(frozen=True)
class Scores:
    """The outcome of an evaluation, in the order of a report.

    Attributes:
        n_real: number of real images.
        n_fake: number of fake images.
        extractors: by name, what decides about the outputs of each; see `FeatureExtractor.describe`.
        scores: by name, ``eval/<metric>``.
        vectors: what is not a single number, e.g. the share of every class.
    """

    n_real: int
    n_fake: int
    extractors: dict[str, dict[str, str]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    vectors: dict[str, list[float]] = field(default_factory=dict)


Progress = Callable[[str, int, int], None]


class Evaluator:
    """Computes metrics of fake images against real ones, on one process or many with the same result.

    The images are cut into batches, and every process takes a contiguous run of whole batches, so each image is
    processed in the same company however many processes there are. An `ImageMetric` gets features, and its statistics
    of the real images are cached on disk; any other torchmetrics Metric gets the images: ``update(images, real=...)``,
    or ``update(images)`` with the fake ones only. Such a metric sees RGB images, uint8, or float in [0, 1] where it
    was made with ``normalize=True``; one that keeps its real side (``reset_real_features=False``) is shown it once.
    Points, which are floats, go to it as they are. A `ModelMetric` gets the model, where the fakes are a model's.

    Args:
        metrics: by name; moved to the model's device when they are used.
        samples: number of generated images, at least 2.
        batch: images per pass.
        cache: of real statistics; null: in the cache folder.
        progress: told after each batch of this process what is looked at, how many images are done, and of how many;
            and the same of the metrics, while statistics and scores are computed.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        samples: int = 10_000,
        batch: int = 250,
        cache: StatisticsCache | None = None,
        progress: Progress = lambda what, done, total: None,
    ):
        if samples < 2:
            raise InputError(f"evaluation.samples={samples}: scores need at least 2 images")
        if batch < 1:
            raise InputError(f"a batch of {batch} images: choose at least 1")
        self.metrics, self.samples, self.batch = dict(metrics), samples, batch
        self.cache, self.progress = cache or StatisticsCache(), progress
        self._shown: dict[str, str | None] = {}  # stock metrics that keep the real side, by the source they saw

    def prepare(self, datamodule: DataModule | None = None, further: FeatureExtractor | None = None) -> None:
        """Get what parts of the metrics need (weights to download or train), so that a run fails before it trains.

        A part is an extractor, or any module inside a metric that has a method `prepare`; `further` is an extractor
        beside those of the metrics. Every process must call it; one per machine works.
        """
        if rank() == 0:
            modules = (module for metric in self.metrics.values() for module in metric.modules())
            others: list[Any] = [m for m in modules if hasattr(m, "prepare") and not isinstance(m, FeatureExtractor)]
            for part in (*self.extractors().values(), *others, *([further] if further else [])):
                part.prepare(datamodule)
        barrier()

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
        reals = datamodule.train_set
        fake = ModelSource(model, self.samples, reals.dtype, seed=seed, ema=ema, truncation=truncation)
        test = None if datamodule.test_set is None else SetSource(datamodule.test_set, datamodule.classes)
        return self.compare(SetSource(reals, datamodule.classes), fake, model.device, test)

    def compare(
        self,
        real: ImageSource,
        fake: ImageSource,
        device: torch.device | str = "cpu",
        test: ImageSource | None = None,
    ) -> Scores:
        """Score `fake` against `real` images. Every process must call it.

        Args:
            real: the training set.
            fake: generated images.
            device: where features are extracted.
            test: real images that no model was trained on, for the metrics that read them.
        """
        if not self.metrics:
            return Scores(len(real), len(fake))
        for source in (real, fake):
            if len(source) < 2:
                raise InputError(f"{source.name}: {len(source)} images; scores need at least 2")
        _check_shapes(real, fake)
        of_test = {name: m for name, m in self.metrics.items() if isinstance(m, ImageMetric) and "test" in m.sides}
        if of_test and test is None:
            raise InputError(f"{', '.join(of_test)}: needs a test set, which this data has not; leave the metric out")
        of_model = {name: m for name, m in self.metrics.items() if isinstance(m, ModelMetric)}
        if of_model and not isinstance(fake, ModelSource):
            raise InputError(f"{', '.join(of_model)}: needs a model, and {fake.name} holds only images: score a run")
        for metric in self.metrics.values():
            metric.to(device)
            metric.reset()
        with torch.no_grad():
            self._show_reals(real, "real", self.metrics)
            if of_test and test is not None:
                self._show_reals(test, "test", of_test)
            self._show(fake, "fake", self.metrics)
            if of_model and isinstance(fake, ModelSource):
                for rows in self._batches("the model", len(fake)):
                    for reader in of_model.values():
                        reader.update(fake.model, rows, **fake.options)
            scores = self._scores(len(real), len(fake))
        for metric in self.metrics.values():
            metric.reset()
        return scores

    def _show_reals(self, source: ImageSource, side: str, metrics: Mapping[str, Metric]) -> None:
        """Show the training or the test set to the metrics that do not know their statistics, and cache these."""
        fingerprint = source.fingerprint()
        keys = {name: self._key(metric, side, fingerprint) for name, metric in metrics.items()}
        unknown = {name: m for name, m in metrics.items() if not self._known(name, m, side, keys[name], fingerprint)}
        self._show(source, side, unknown)
        written = set()
        for name, metric in self._each(f"statistics of {source.name}", unknown):
            key = keys[name]
            if isinstance(metric, ImageMetric) and key and key not in written:
                written.add(key)
                with metric.sync_context(should_sync=world_size() > 1):
                    if rank() == 0:
                        self.cache.write(key, metric.cached_states(side))
        barrier()

    def _key(self, metric: Metric, side: str, fingerprint: str | None) -> str | None:
        """The name in the cache of what a metric keeps of a set with this fingerprint."""
        if fingerprint is None or not isinstance(metric, ImageMetric):
            return None
        kept = metric.sides[side]
        return digest(fingerprint, metric.extractor.fingerprint, f"{side}_", kept.name, kept.settings)

    def _known(self, name: str, metric: Metric, side: str, key: str | None, source: str | None) -> bool:
        """Whether the metric needs no real image: it takes none, kept them, or the cache has its statistics."""
        if not isinstance(metric, ImageMetric):
            return not _takes_real(metric) or self._kept(name, metric, source)
        states = broadcast_object(self.cache.read(key) if key and rank() == 0 else None)
        return states is not None and metric.load_states(side, states, rank(), world_size())

    def _kept(self, name: str, metric: Metric, source: str | None) -> bool:
        """Whether a stock metric still has its real side; InputError if that is another set's."""
        if getattr(metric, "reset_real_features", True):
            return False
        if name not in self._shown:
            self._shown[name] = source
            return False
        if source is None or self._shown[name] != source:
            raise InputError(f"{name} keeps its first real images: make it with reset_real_features=true for others")
        return True

    def _show(self, source: ImageSource, side: str, metrics: Mapping[str, Metric]) -> None:
        """Update the metrics with this process's part of the images of a side: "real", "test" or "fake"."""
        chosen = [metric for metric in metrics.values() if not isinstance(metric, ModelMetric)]
        if not chosen:
            return
        extractors = self.extractors()
        keys = {metric.extractor.key for metric in chosen if isinstance(metric, ImageMetric)}
        for rows in self._batches(source.name, len(source)):
            images, labels = source.read(rows.start, rows.stop)
            images = images.to(chosen[0].device)
            outputs = {key: extractors[key](images) for key in keys}
            for metric in chosen:
                if isinstance(metric, ImageMetric):
                    metric.update(outputs[metric.extractor.key], side != "fake", labels, rows, test=side == "test")
                else:
                    _update_stock(metric, images, side != "fake")

    def _batches(self, what: str, total: int) -> Iterator[Rows]:
        """The batches of this process; `progress` hears of each when it is done."""
        done, count = 0, sum(map(len, blocks(total, self.batch, rank(), world_size())))
        for rows in batches(total, self.batch):
            yield rows
            done += len(rows)
            self.progress(what, done, count)

    def _each(self, what: str, metrics: Mapping[str, Metric]) -> Iterator[tuple[str, Metric]]:
        """The metrics in turn; `progress` hears how many are done."""
        for done, named in enumerate(metrics.items()):
            give_way()
            self.progress(what, done, len(metrics))
            yield named
            self.progress(what, done + 1, len(metrics))

    def extractors(self) -> dict[str, FeatureExtractor]:
        """One extractor of each kind by its key: two metrics that were configured alike share one."""
        found: dict[str, FeatureExtractor] = {}
        for metric in self.metrics.values():
            for module in metric.modules():
                if isinstance(module, FeatureExtractor):
                    found.setdefault(module.key, module)
        return found

    def _scores(self, n_real: int, n_fake: int) -> Scores:
        """What the metrics say of the images that they have seen."""
        found = Scores(n_real, n_fake)
        for name, metric in self._each("the scores", self.metrics):
            for key, value in _results(name, metric.compute()):
                if key in found.scores or key in found.vectors:
                    raise InputError(f"two of the chosen metrics log {key}: choose one of them")
                if value.numel() == 1:
                    found.scores[key] = float(value)
                else:
                    found.vectors[key] = value.double().flatten().tolist()
        for key, extractor in self.extractors().items():
            found.extractors[key if extractor.name in found.extractors else extractor.name] = extractor.describe()
        return found


def blocks(total: int, batch: int, rank: int, world: int) -> Iterator[Rows]:
    """The batches of one process: a contiguous run of whole batches of the global order."""
    count = -(-total // batch)
    for block in range(count * rank // world, count * (rank + 1) // world):
        yield Rows(block * batch, min((block + 1) * batch, total), total)


def batches(total: int, batch: int) -> Iterator[Rows]:
    """The batches of this process, as `blocks`; between them all processes give way to one that is asked to end.

    Raises:
        CutShort: on every process, in training.
    """
    mine = list(blocks(total, batch, rank(), world_size()))
    for i in range(-(-total // (batch * world_size()))):  # as many as any process has
        give_way()
        yield from mine[i : i + 1]


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
    pixels = images.dtype == torch.uint8
    if pixels and not getattr(metric, "used_custom_model", False):
        images = images.expand(-1, 3, -1, -1)
    if pixels and getattr(metric, "normalize", False):
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
