"""Three grey images stacked into one of three channels: a thousand modes that a classifier can count."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddle.data.base import DataModule, Part
from saddle.data.digits import Digits
from saddle.data.idx import MNIST, FashionMNIST
from saddle.data.images import Images
from saddle.errors import InputError
from saddle.randomness import generator

#: Data sets of grey images in ten classes that can be stacked.
SOURCES: dict[str, type[DataModule]] = {"mnist": MNIST, "fashion_mnist": FashionMNIST, "digits": Digits}
CLASSES = 10  # of each of them


class StackedImages(Images):
    """Images whose channels are grey images.

    Args:
        singles: uint8 [M, 1, H, H].
        rows: which of them are the channels of each image, int64 [N, 3].
        where: what an error message calls them.
    """

    def __init__(self, singles: Tensor, rows: Tensor, where: str):
        self.singles, self.rows, self.where = singles[:, 0], rows, where
        self.channels, self.resolution = rows.shape[1], singles.shape[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int]) -> Tensor:
        """The images at `indices`: uint8 [n, 3, H, H]."""
        chosen = self.rows.numpy().take(np.asarray(indices), 0)
        return torch.from_numpy(self.singles.numpy().take(chosen, 0))

    def fingerprint(self) -> str:
        """A hash of the grey images and of their choice."""
        digest = hashlib.sha256(self.singles.contiguous().numpy().data)
        digest.update(self.rows.contiguous().numpy().data)
        return digest.hexdigest()


class Stacked(DataModule):
    """Random triples of grey images as RGB, labelled 100 a + 10 b + c by their classes (Metz et al. 2017, VEEGAN).

    The three are drawn independently and with replacement, from the training part for training and from the test part
    for the test part; image i is a function of the seed and of i alone.

    Args:
        source: name of the data set of the grey images: mnist, fashion_mnist or digits.
        images: how many in the training part; 128,000 in Lin et al. 2018.
        test_images: how many in the test part.
        seed: of the choice.

    Raises:
        InputError: for an unknown source, another number of channels than 3, or files that are missing.
    """

    def __init__(self, *, source: str, images: int, test_images: int, seed: int, **options: Any):
        super().__init__(**options)
        if source not in SOURCES:
            raise InputError(f"data.source={source}: choose one of {', '.join(SOURCES)}")
        if self.channels != 3:
            raise InputError(f"data.channels={self.channels}: three grey images are stacked; leave it 3")
        if images < 1 or test_images < 1:
            raise InputError(f"data.images={images}, data.test_images={test_images}: choose at least 1 of each")
        self.source, self.images, self.test_images, self.seed = source, images, test_images, seed
        self._singles: DataModule | None = None

    def singles(self) -> DataModule:
        """The data set of the grey images, not yet set up."""
        if self._singles is None:
            self._singles = SOURCES[self.source](
                resolution=self.resolution,
                channels=1,
                classes=CLASSES,
                batch_size=self.batch_size,
                flip=self.flip,
                path=str(self.path),
                classifier=self.source,
            )
        return self._singles

    def look(self) -> None:
        """Finds or downloads the files of the grey images."""
        self.singles().look()

    def read(self) -> tuple[Part, Part | None]:
        """Both parts."""
        train, test = self.singles().read()
        assert test is not None
        return self._stack(train, "train", self.images), self._stack(test, "test", self.test_images)

    def _check(self, part: Part) -> Tensor:
        """The labels to use; a part with few images need not hold all of the thousand classes."""
        if self.classes == CLASSES**self.channels and part.labels is not None:
            return part.labels
        return super()._check(part)

    def _stack(self, part: Part, name: str, count: int) -> Part:
        assert part.labels is not None
        rows = torch.randint(len(part.images), (count, 3), generator=generator(self.seed, f"stacked/{name}"))
        labels = (part.labels[rows] * torch.tensor([CLASSES**2, CLASSES, 1])).sum(1)
        return Part(StackedImages(part.images.read_all(), rows, f"the stacked {self.source}"), labels)
