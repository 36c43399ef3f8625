"""What the latent codes of an InfoGAN have come to mean: grids that vary one code, and scores against the classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from saddle.callbacks.evaluation import Evaluation
from saddle.callbacks.pictures import Pictures
from saddle.images import from_data, to_uint8
from saddle.metrics.codes import CodeAccuracy
from saddle.metrics.evaluator import batches
from saddle.metrics.features import ClassifierExtractor


class Traversals(Pictures):
    """Draws a grid for every latent code; nothing for a model without codes or for points.

    A categorical code has a row per value and the same noise in each column, in ``samples/categorical_<i>``; a
    continuous one goes from -reach to reach along the rows, of which there is one per value of the first categorical
    code, in ``samples/continuous_<i>``.

    Args:
        every, folder, columns: of `Pictures`.
        reach: end of the continuous sweeps; in training the codes stay within 1.
    """

    def __init__(self, every: int, folder: str, columns: int = 10, reach: float = 2.0):
        super().__init__(every, folder, columns)
        self.reach = reach

    def applies(self, trainer: Any, model: Any) -> bool:
        return hasattr(model, "codes") and trainer.datamodule.bounded

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor, int]]:
        for i in range(len(model.codes.categorical)):
            yield f"samples/categorical_{i}", model.render(model.sweep_category(i, self.columns)), self.columns
        for i in range(model.codes.continuous):
            latents = model.sweep_continuous(i, self.columns, self.reach)
            yield f"samples/continuous_{i}", model.render(latents), self.columns


class CodeScores(Evaluation):
    """Scores how well the first categorical code tells the classes, which the model was not told.

    ``eval/code_accuracy``: the share of real images, those of the test part where there is one, of which Q reads the
    code that stands for their label, under the best one-to-one assignment. ``eval/code_agreement``: the same of
    generated images, the code that they were made with against the class that the repository's own classifier sees.
    Either needs data with classes, the latter a classifier of the data too; nothing happens without a categorical code.

    Args:
        every: iterations between two scorings; 0 for only one at the end.
        classifier: name of the data's classifier, or None.
        samples: generated images, those of seed 0.
        batch: images per pass.
    """

    def __init__(self, every: int, classifier: str | None = None, samples: int = 2000, batch: int = 250):
        super().__init__({}, every, samples, batch)
        self.classifier = classifier

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        data = trainer.datamodule
        if self.classifier and self.applies(pl_module, data):
            self.extractor = ClassifierExtractor(self.classifier, data.classes)
            self.evaluator.prepare(data, self.extractor)

    def applies(self, model: Any, data: Any) -> bool:
        """Whether there is a code to score and classes to score it by."""
        codes = getattr(model, "codes", None)
        return codes is not None and bool(codes.categorical) and data.classes > 1

    @torch.no_grad()
    def scores(self, model: Any, data: Any) -> dict[str, float]:
        if not self.applies(model, data):
            return {}
        scores = {"eval/code_accuracy": self.accuracy(model, data)}
        if self.extractor is not None:
            scores["eval/code_agreement"] = self.agreement(model, data.classes)
        return scores

    def accuracy(self, model: Any, data: Any) -> float:
        """Of the real images: the code that Q reads against their label."""
        images = data.train_set if data.test_set is None else data.test_set
        metric = CodeAccuracy(model.codes.categorical[0], data.classes).to(model.device)
        for rows in batches(len(images), self.evaluator.batch):
            pixels, labels = images.__getitems__(range(rows.start, rows.stop))
            read, _ = model.read_codes(from_data(pixels.to(model.device), model.dtype))
            metric.update(read[0], labels)
        return float(metric.compute())

    def agreement(self, model: Any, classes: int) -> float:
        """Of generated images: the code that they were made with against the class that the classifier sees."""
        assert self.extractor is not None
        metric = CodeAccuracy(model.codes.categorical[0], classes).to(model.device)
        for rows in batches(self.evaluator.samples, self.evaluator.batch):
            images, _ = model.sample(rows.start, rows.stop, seed=0)
            seen = self.extractor(to_uint8(images)).logits.argmax(1)
            metric.update(model.prior.sample_categories(0, rows.start, rows.stop, 0), seen)
        return float(metric.compute())
