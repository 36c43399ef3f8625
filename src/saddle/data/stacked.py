"""Three grey images stacked into one of three channels: a thousand modes that a classifier can count."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddle.data.base import DataModule, Split
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

    Attributes:
        singles: the data set of the grey images.

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
        own = {"channels": 1, "classes": CLASSES, "classifier": source, "limit": 0}
        self.singles = SOURCES[source](**options | own)

    def prepare_data(self) -> None:
        self.singles.prepare_data()

    def read(self) -> tuple[Split, Split | None]:
        train, test = self.singles.read()
        assert test is not None
        return self._stack(train, "train", self.images), self._stack(test, "test", self.test_images)

    def _checked_labels(self, split: Split) -> Tensor:
        """The labels to use; a split with few images need not hold all of the thousand classes."""
        if self.classes == CLASSES**self.channels and split.labels is not None:
            return split.labels
        return super()._checked_labels(split)

    def _stack(self, singles: Split, name: str, count: int) -> Split:
        assert singles.labels is not None
        rows = torch.randint(len(singles.images), (count, 3), generator=generator(self.seed, f"stacked/{name}"))
        labels = (singles.labels[rows] * torch.tensor([CLASSES**2, CLASSES, 1])).sum(1)
        return Split(StackedImages(singles.images.read_all(), rows, f"the stacked {self.source}"), labels)
