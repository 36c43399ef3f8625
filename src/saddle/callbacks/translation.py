"""What a model that translates between two domains has learned: grids and scores of both directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from saddle.callbacks.evaluation import Evaluation
from saddle.callbacks.pictures import Pictures
from saddle.data.unpaired import DOMAINS, A, B, Unpaired
from saddle.distributed import all_reduce
from saddle.images import from_data, to_uint8
from saddle.metrics.evaluator import batches
from saddle.metrics.features import ClassifierExtractor
from saddle.metrics.sources import ModelSource, SetSource
from saddle.networks.cyclegan import DIRECTIONS, Direction


class TranslationGrid(Pictures):
    """Draws ``samples``: the translations of the same images every time.

    There are six rows: images of A, their translations to B, those back to A; images of B, their translations to A,
    those back to B. The images are the first ones to translate (`Unpaired.to_translate`).
    """

    def grids(self, model: Any) -> Iterator[tuple[str, Tensor, int]]:
        columns = min(self.columns, *map(len, model.data.to_translate))
        rows = []
        for sources, there, back in zip(model.data.to_translate, DIRECTIONS, DIRECTIONS[::-1], strict=True):
            images = from_data(sources.__getitems__(range(columns))[0], model.dtype)
            translated = model.translate(images, there)
            rows += [images, translated.cpu(), model.translate(translated, back).cpu()]
        yield "samples", torch.cat(rows), columns


class TranslationScores(Evaluation):
    """Scores the moving average of both generators on the images to translate (`Unpaired.to_translate`).

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
    """

    def __init__(self, metrics: Mapping[str, Metric], every: int, samples: int = 10_000, batch: int = 50):
        super().__init__(metrics, every, samples, batch)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        data: Unpaired = trainer.datamodule
        if data.classifier and data.classes:
            self.extractor = ClassifierExtractor(data.classifier, data.classes)
        self.evaluator.prepare(data, self.extractor)

    def scores(self, model: Any, data: Unpaired) -> dict[str, float]:
        scores = self._metrics(model, data, B)
        scores |= {f"{name}_b_to_a": value for name, value in self._metrics(Backwards(model), data, A).items()}
        return scores | self._translations(model, data, A) | self._translations(model, data, B)

    def _metrics(self, translator: Any, data: Unpaired, domain: int) -> dict[str, float]:
        """The metrics of the translations into a domain, by its test images and the other's."""
        real = SetSource(data.references[domain], data.classes)
        unseen = data.test_set if domain == B else data.to_translate[A]
        test = None if data.test_set is None or unseen is None else SetSource(unseen, data.classes)
        fake = ModelSource(translator, min(self.evaluator.samples, len(data.to_translate[1 - domain])))
        return self.evaluator.compare(real, fake, translator.device, test).scores

    @torch.no_grad()
    def _translations(self, model: Any, data: Unpaired, domain: int) -> dict[str, float]:
        """The other scores of the translations of a domain's images."""
        there, back, other = DIRECTIONS[domain], DIRECTIONS[1 - domain], 1 - domain
        known = {f"cycle_{DOMAINS[domain].lower()}_l1": True, f"{there}_l1": data.paired}
        known[f"{there}_accuracy"] = self.extractor is not None
        names = [f"eval/{name}" for name, is_known in known.items() if is_known]
        sums = torch.zeros(len(names), dtype=torch.float64, device=model.device)
        for rows in batches(len(data.to_translate[domain]), self.evaluator.batch):
            images, labels = data.to_translate[domain].__getitems__(range(rows.start, rows.stop))
            images = from_data(images.to(model.device), model.dtype)
            translated = model.translate(images, there)
            found = [distances(model.translate(translated, back), images)]
            if data.paired:  # what the translations should be
                targets = data.to_translate[other].__getitems__(range(rows.start, rows.stop))[0]
                found.append(distances(translated, from_data(targets.to(model.device), model.dtype)))
            if self.extractor is not None:  # whether they still show the class
                seen = self.extractor(to_uint8(data.for_classifier(translated, other))).logits.argmax(1)
                found.append(seen == labels.to(seen.device))
            sums += torch.stack([x.double().sum() for x in found])
        means = (all_reduce(sums) / len(data.to_translate[domain])).tolist()
        return dict(zip(names, means, strict=True))


class Backwards:
    """A translating model as one whose samples are the translations from B to A.

    Args:
        model: samples in either direction.
    """

    direction: Direction = "b_to_a"
    conditional = False

    def __init__(self, model: Any):
        self.model, self.device = model, model.device

    def sample(self, start: int, stop: int, *, seed: int = 0, **options: Any) -> tuple[Tensor, Tensor]:
        """The translations number `start` to `stop`, and their labels."""
        return self.model.sample(start, stop, direction=self.direction, **options)


def distances(images: Tensor, others: Tensor) -> Tensor:
    """The mean absolute difference of the pixels of each pair of images: [n, C, H, W] twice to [n]."""
    return (images - others).abs().flatten(1).mean(1)
