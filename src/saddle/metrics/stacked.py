"""To which of the modes of stacked images a sample belongs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saddle.data.base import DataModule
from saddle.data.stacked import CLASSES, Stacked
from saddle.errors import InputError
from saddle.metrics.features import ClassifierExtractor
from saddle.metrics.modes import Assignment


class SinglesClassifier(ClassifierExtractor):
    """The classifier of the grey images that stacked ones are made of."""

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Train it on the grey images, where there is none yet."""
        if self.path.is_file() or datamodule is None:
            return
        if not isinstance(datamodule, Stacked):
            raise InputError("metrics=stacked_modes counts the modes of stacked images: choose data=stacked_mnist")
        singles = datamodule.singles
        singles.prepare_data()
        singles.setup()
        super().prepare(singles)


class ClassesOfChannels(nn.Module, Assignment):
    """The classes that a classifier sees in the channels, read as one number: 100 a + 10 b + c.

    No sample is without a mode. The classifier's mistakes fall on modes that have no sample: with an error of 1 % in
    each channel, one that is missing among modes of equal frequency still gets .03 of it (27 neighbours, .01 / 9 each).

    Args:
        classifier: name of the repository's classifier of the grey images.
        channels: how many are stacked.

    Raises:
        InputError: if there is no such classifier and no way to train it.
    """

    def __init__(self, classifier: str | None, channels: int = 3):
        super().__init__()
        if not classifier:
            raise InputError(
                "metrics=stacked_modes counts the modes of stacked images, and this data has none: choose "
                "data=stacked_mnist, or leave metrics away to score a run by its own"
            )
        self.extractor = SinglesClassifier(classifier, CLASSES)
        self.channels, self.modes = channels, self.extractor.classes**channels

    def forward(self, samples: Tensor) -> Tensor:
        """uint8 [N, channels, H, W] -> int64 [N] from 0 to modes - 1."""
        if samples.shape[1] != self.channels:
            raise InputError(f"stacked images have {self.channels} channels, these {samples.shape[1]}")
        seen = self.extractor(samples.flatten(0, 1)[:, None]).logits.argmax(1).view(-1, self.channels)
        place = self.extractor.classes ** torch.arange(self.channels - 1, -1, -1, device=seen.device)
        return (seen * place).sum(1)
