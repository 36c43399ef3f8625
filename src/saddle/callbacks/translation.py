"""What a model that translates between two domains has learned: grids and scores of both directions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric

from saddle.callbacks import paused, record, record_image
from saddle.callbacks.evaluation import Evaluation
from saddle.callbacks.samples import SampleGrid
from saddle.data.unpaired import DOMAINS, Unpaired
from saddle.distributed import all_reduce, barrier, rank, world_size
from saddle.images import from_data, save_grid, to_uint8
from saddle.metrics.evaluator import Evaluator, blocks
from saddle.metrics.features import ClassifierExtractor
from saddle.metrics.sources import ModelSource, SetSource
from saddle.networks.cyclegan import DIRECTIONS, Direction


class TranslationGrid(SampleGrid):
    """Draws the translations of the same images every time.

    There are six rows: images of A, their translations to B, those back to A; images of B, their translations to A,
    those back to B. Files go to ``samples/<iteration>.png`` of the run folder and to Weights & Biases as ``samples``.

    Args:
        every: iterations between two grids; 0 for only one at the end.
        folder: the run folder.
        columns: images of each domain: the first ones to translate (`Unpaired.pictures`).
    """

    def __init__(self, every: int, folder: str, columns: int = 10):
        super().__init__(every, folder, columns)

    def draw(self, trainer: Any, pl_module: Any) -> None:
        """Write the grid of the current moving average; process 0 does it alone."""
        self._last = pl_module.iteration
        if not trainer.is_global_zero:
            return
        with paused(trainer):
            path = self.folder / "samples" / f"{pl_module.iteration:08d}.png"
            save_grid(*self.grid(pl_module), path)
            record_image(trainer, "samples", path, pl_module.iteration)

    def grid(self, model: Any) -> tuple[Tensor, int]:
        """The images of the six rows, [6 * columns, C, H, W] in [-1, 1], and the number of columns."""
        columns = min(self.columns, *(len(model.data.to_translate[domain]) for domain in (0, 1)))
        rows = []
        for domain, (there, back) in enumerate((DIRECTIONS, DIRECTIONS[::-1])):
            images = from_data(model.data.to_translate[domain].__getitems__(range(columns))[0], model.dtype)
            translated = model.translate(images, there)
            rows += [images, translated.cpu(), model.translate(translated, back).cpu()]
        return torch.cat(rows), columns


class TranslationScores(Evaluation):
    """Scores the moving average of both generators on the images to translate (`Unpaired.pictures`).

    The metrics compare translations with the training images of the domain that they go to: ``eval/<metric>`` from A to
    B, ``eval/<metric>_b_to_a`` from B to A. Beside them, with mean absolute differences of pixels in [-1, 1]:

    - ``eval/cycle_a_l1``, ``eval/cycle_b_l1``: images of A and of B against their translations there and back;
    - where test image number i of both domains shows the same, ``eval/a_to_b_l1``, ``eval/b_to_a_l1``: translations
      against what they should be;
    - where the data have a classifier and labels, ``eval/a_to_b_accuracy``, ``eval/b_to_a_accuracy``: the share of
      translations that still show the class.

    Args:
        metrics: by name; none are needed.
        every: iterations between two evaluations; 0 for only one at the end.
        samples: images that the metrics see of each direction; at most as many as there are.
        batch: images per pass.
        seed: not read by translations.
    """

    def __init__(
        self, metrics: Mapping[str, Metric], every: int, samples: int = 10_000, batch: int = 50, seed: int = 0
    ):
        super().__init__(metrics, every, samples, batch, seed)
        self.backwards = Evaluator(copy.deepcopy(dict(metrics)), samples, batch)
        self.batch = batch
        self.extractor: ClassifierExtractor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fetch or train what the extractors and the classifier need."""
        super().on_fit_start(trainer, pl_module)
        data: Unpaired = trainer.datamodule  # type: ignore[attr-defined]
        for domain, evaluator in enumerate((self.evaluator, self.backwards)):
            evaluator.samples = min(evaluator.samples, len(data.to_translate[domain]))
        if data.classifier and data.classes:
            self.extractor = ClassifierExtractor(data.classifier, data.classes)
            if rank() == 0:
                self.extractor.prepare(data)
            barrier()

    def evaluate(self, trainer: Any, pl_module: Any) -> None:
        """Score and record; every process takes part, and none of it counts as training time."""
        self._last = pl_module.iteration
        with paused(trainer):
            data = trainer.datamodule
            scores = self.evaluator.evaluate(pl_module, data, seed=self.seed)
            scores |= {f"{name}_b_to_a": value for name, value in self._backwards(pl_module, data).items()}
            for domain in (0, 1):
                scores |= self._translations(pl_module, data, domain)
            record(trainer, scores, self._last)

    def _backwards(self, model: Any, data: Unpaired) -> dict[str, float]:
        """The metrics of the translations from B to A."""
        real = SetSource(data.references[0], data.classes)
        test = None if data.test_set is None else SetSource(data.to_translate[0], data.classes)
        fake = ModelSource(Backwards(model), self.backwards.samples)
        return self.backwards.compare(real, fake, model.device, test).scalars

    @torch.no_grad()
    def _translations(self, model: Any, data: Unpaired, domain: int) -> dict[str, float]:
        """The other scores of the translations of a domain's images."""
        there, back = DIRECTIONS[domain], DIRECTIONS[1 - domain]
        pictures = data.to_translate[domain]
        names = [f"cycle_{DOMAINS[domain].lower()}_l1", f"{there}_l1", f"{there}_accuracy"]
        sums = torch.zeros(len(names), dtype=torch.float64, device=model.device)
        for rows in blocks(len(pictures), self.batch, rank(), world_size()):
            images, labels = pictures.__getitems__(range(rows.start, rows.stop))
            images = from_data(images.to(model.device), model.dtype)
            translated = model.translate(images, there)
            found = [distances(model.translate(translated, back), images)]
            found.append(self._from_target(translated, data, 1 - domain, rows.start, rows.stop))
            found.append(self._right(translated, data, 1 - domain, labels))
            sums += torch.stack([x.double().sum() for x in found])
        means = (all_reduce(sums) / len(pictures)).tolist()
        known = [True, data.paired, self.extractor is not None]
        return {f"eval/{name}": mean for name, mean, there in zip(names, means, known, strict=True) if there}

    def _from_target(self, images: Tensor, data: Unpaired, domain: int, start: int, stop: int) -> Tensor:
        """How far the translations number `start` to `stop` are from what they should be, [n]; zeros if unknown."""
        if not data.paired:
            return images.new_zeros(len(images))
        targets = data.to_translate[domain].__getitems__(range(start, stop))[0]
        return distances(images, from_data(targets.to(images.device), images.dtype))

    def _right(self, images: Tensor, data: Unpaired, domain: int, labels: Tensor) -> Tensor:
        """Whether each translation into a domain still shows its class, [n]; zeros without a classifier."""
        if self.extractor is None:
            return images.new_zeros(len(images))
        seen = self.extractor(to_uint8(data.for_classifier(images, domain))).logits.argmax(1)
        return seen == labels.to(seen.device)


class Backwards:
    """A translating model as one whose samples are the translations from B to A.

    Args:
        model: has `sample_direction`.
    """

    direction: Direction = "b_to_a"
    conditional = False

    def __init__(self, model: Any):
        self.model = model

    def sample(self, start: int, stop: int, *, seed: int = 0, **options: Any) -> tuple[Tensor, Tensor]:
        """The translations number `start` to `stop`, and their labels."""
        return self.model.sample_direction(self.direction, start, stop, **options)


def distances(images: Tensor, others: Tensor) -> Tensor:
    """The mean absolute difference of the pixels of each pair of images: [n, C, H, W] twice to [n]."""
    return (images - others).abs().flatten(1).mean(1)
