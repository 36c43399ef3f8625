"""What a classifier learns from generated images, and what one of real images makes of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from saddle.distributed import broadcast_object, rank
from saddle.errors import InputError
from saddle.metrics import classifier
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureOutputs, Pixels


class SmallPixels(Pixels):
    """No network: the features are the images as the repository's classifier sees them, uint8 [N, C, 32, 32]."""

    name = key = fingerprint = f"pixels {classifier.RESOLUTION}"

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        return super().extract(network, classifier.shrink_images(images))


class ClassificationAccuracy(ImageMetric):
    """The classification accuracy score (Ravuri & Vinyals 2019, arXiv:1905.10887), and its reverse.

    Both are of Shmelkov et al. 2018 (arXiv:1807.09499) too, who call them GAN-train and GAN-test. The repository's
    small classifier is trained on fakes alone, with the labels that they were asked for, and tested on real images that
    neither it nor the generator saw; the reverse is trained on the real training set and tested on fakes. The first
    falls where fakes lack quality or variety, the second only where they lack quality: a generator that makes one good
    image of each class has a reverse score of 1.

    Known values: for fakes that are the training set itself, `cas` is `cas_real`; for labels that mean nothing, both
    are one over the number of classes. Published values are of a ResNet-50 on ImageNet, and not comparable.

    The classifiers are a function of the images, the labels and the seed. With several processes the first one trains.

    Args:
        steps: optimiser steps of a classifier, at least 1.
        reverse: also train on real images: `gan_test`, and `cas_real`, what training on real images gives on the test
            set.
        flip: whether a mirrored image keeps its class (not so for digits).
        shift: training images are moved by up to so many pixels, 0 to 4.
        seed: of the classifiers.
    """

    def __init__(
        self,
        steps: int = 3600,
        reverse: bool = True,
        flip: bool = False,
        shift: int = 1,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(SmallPixels(), Features(labelled=True), test=Features(labelled=True), **kwargs)
        if steps < 1 or not 0 <= shift <= 4:
            raise InputError(f"cas: steps={steps}, shift={shift}; choose at least 1 step and a shift from 0 to 4")
        self.steps, self.reverse, self.flip, self.shift, self.seed = steps, reverse, flip, shift, seed

    def compute(self) -> dict[str, Tensor]:
        """``""``, and with `reverse` ``_real`` and ``gan_test``: accuracies from 0 to 1, float64.

        InputError with fewer than two images on a side, or where fakes and real images have not the same classes.
        """
        sets = {
            side: (self.gathered(side), self.gathered(side, "labels"))
            for side in (self.sides if self.reverse else ("fake", "test"))
        }
        known = {side: set(labels.unique().tolist()) for side, (_, labels) in sets.items()}
        real = known.get("real", known["test"])
        if not known["test"] <= known["fake"] or (self.reverse and not known["fake"] <= real):
            raise InputError(
                f"cas: the fakes have the classes {sorted(known['fake'])}, the real images {sorted(real)}: "
                "score more images"
            )
        accuracies = broadcast_object(self._accuracies(sets) if rank() == 0 else None)
        return {name: torch.tensor(x, dtype=torch.float64) for name, x in accuracies.items()}

    def _accuracies(self, sets: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
        of_fakes = self._train(*sets["fake"])
        found = {"": classifier.accuracy(of_fakes, *sets["test"])}
        if self.reverse:
            of_reals = self._train(*sets["real"])
            found |= {
                "_real": classifier.accuracy(of_reals, *sets["test"]),
                "gan_test": classifier.accuracy(of_reals, *sets["fake"]),
            }
        return found

    def _train(self, images: Tensor, labels: Tensor) -> classifier.Classifier:
        classes = int(labels.max()) + 1
        with torch.enable_grad():
            return classifier.train(
                images, labels, classes, steps=self.steps, flip=self.flip, shift=self.shift, seed=self.seed
            )
