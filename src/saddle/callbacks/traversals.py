"""What the latent codes of an InfoGAN have come to mean: grids that vary one code, and scores against the classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from saddle.callbacks import paused, record, record_image
from saddle.callbacks.evaluation import Evaluation
from saddle.callbacks.samples import SampleGrid
from saddle.distributed import barrier, rank, world_size
from saddle.images import from_data, save_grid, to_uint8
from saddle.metrics.codes import CodeAccuracy
from saddle.metrics.evaluator import blocks
from saddle.metrics.features import ClassifierExtractor


class Traversals(SampleGrid):
    """Draws a grid for every latent code; nothing for a model without codes or for points.

    A categorical code has a row per value and the same noise in each column; a continuous one goes from -reach to
    reach along the rows, of which there is one per value of the first categorical code. Files go to
    ``samples/categorical_<i>/<iteration>.png`` and ``samples/continuous_<i>/<iteration>.png`` of the run folder, and to
    Weights & Biases as ``samples/categorical_<i>`` and ``samples/continuous_<i>``.

    Args:
        every: iterations between two drawings; 0 for only one at the end.
        folder: the run folder.
        columns: images in a row.
        reach: end of the continuous sweeps; in training the codes stay within 1.
    """

    def __init__(self, every: int, folder: str, columns: int = 10, reach: float = 2.0):
        super().__init__(every, folder, columns)
        self.reach = reach

    def draw(self, trainer: Any, pl_module: Any) -> None:
        """Write the grids of the current moving average; process 0 does it alone."""
        self._last = pl_module.iteration
        if not trainer.is_global_zero or not hasattr(pl_module, "codes") or not trainer.datamodule.bounded:
            return
        with paused(trainer):
            for name, latents in self.grids(pl_module):
                path = self.folder / "samples" / name / f"{pl_module.iteration:08d}.png"
                save_grid(pl_module.render(latents), self.columns, path)
                record_image(trainer, f"samples/{name}", path, pl_module.iteration)

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor]]:
        """Name and latents of each grid, row by row."""
        for i in range(len(model.codes.categorical)):
            yield f"categorical_{i}", model.sweep_category(i, self.columns)
        for i in range(model.codes.continuous):
            yield f"continuous_{i}", model.sweep_continuous(i, self.columns, self.reach)


class CodeScores(Evaluation):
    """Scores how well the first categorical code tells the classes, which the model was not told.

    ``eval/code_accuracy``: the share of real images, those of the test part where there is one, of which Q reads the
    code that stands for their label, under the best one-to-one assignment. ``eval/code_agreement``: the same of
    generated images, the code that they were made with against the class that the repository's own classifier sees.
    Either needs data with classes, the latter a classifier of the data too; nothing happens without a categorical code.

    Args:
        every: iterations between two scorings; 0 for only one at the end.
        classifier: name of the data's classifier, or None.
        samples: generated images.
        batch: images per pass.
        seed: of the samples, the same every time.
    """

    def __init__(self, every: int, classifier: str | None = None, samples: int = 2000, batch: int = 250, seed: int = 0):
        super().__init__({}, every, samples, batch, seed)
        self.samples, self.batch, self.classifier = samples, batch, classifier
        self.extractor: ClassifierExtractor | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Get the classifier; one process of each machine may have to train it."""
        if self.classifier and self.applies(trainer, pl_module):
            self.extractor = ClassifierExtractor(self.classifier, trainer.datamodule.classes)
            if rank() == 0:
                self.extractor.prepare(trainer.datamodule)
            barrier()

    def applies(self, trainer: Any, pl_module: Any) -> bool:
        """Whether there is a code to score and classes to score it by."""
        codes = getattr(pl_module, "codes", None)
        return codes is not None and bool(codes.categorical) and trainer.datamodule.classes > 1

    def evaluate(self, trainer: Any, pl_module: Any) -> None:
        """Score and record; every process takes part, and none of it counts as training time."""
        self._last = pl_module.iteration
        if not self.applies(trainer, pl_module):
            return
        with paused(trainer), torch.no_grad():
            scores = {"eval/code_accuracy": self.accuracy(pl_module, trainer.datamodule)}
            if self.extractor is not None:
                scores["eval/code_agreement"] = self.agreement(pl_module, trainer.datamodule.classes)
            record(trainer, scores, self._last)

    def accuracy(self, model: Any, data: Any) -> float:
        """Of the real images: the code that Q reads against their label."""
        images = data.train_set if data.test_set is None else data.test_set
        metric = CodeAccuracy(model.codes.categorical[0], data.classes).to(model.device)
        for rows in blocks(len(images), self.batch, rank(), world_size()):
            pixels, labels = images.__getitems__(range(rows.start, rows.stop))
            read, _ = model.read_codes(from_data(pixels.to(model.device), model.dtype))
            metric.update(read[0], labels)
        return float(metric.compute())

    def agreement(self, model: Any, classes: int) -> float:
        """Of generated images: the code that they were made with against the class that the classifier sees."""
        assert self.extractor is not None
        metric = CodeAccuracy(model.codes.categorical[0], classes).to(model.device)
        for rows in blocks(self.samples, self.batch, rank(), world_size()):
            images, _ = model.sample(rows.start, rows.stop, seed=self.seed)
            seen = self.extractor(to_uint8(images)).logits.argmax(1)
            metric.update(model.prior.sample_categories(self.seed, rows.start, rows.stop, 0), seen)
        return float(metric.compute())
