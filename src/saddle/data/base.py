"""What all data modules share: checking their files against the configuration, loading, and the order of training."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import ArrayLike
from torch import Tensor

from saddle.data.images import Images
from saddle.data.loader import Iterations, Loader
from saddle.data.sets import ImageSet, MemorySet, StreamedSet
from saddle.errors import InputError
from saddle.randomness import generator

log = logging.getLogger(__name__)


class Split:
    """The training or the test part of a data set, as its files hold it.

    Args:
        images: N of them.
        labels: N whole numbers from 0, or None where the files have none; kept as int64 [N].
    """

    def __init__(self, images: Images, labels: ArrayLike | None = None):
        self.images = images
        self.labels = None if labels is None else torch.from_numpy(np.ascontiguousarray(labels, np.int64))


class DataModule(LightningDataModule):
    """Base of all data modules: a subclass says how its files are read.

    One whose files may be missing also finds them in `prepare_data`, which one process of each machine calls, or raises
    an InputError that says which file to put where; `saddle.data.public.PublicData` downloads them. Without a trainer:
    call `prepare_data()`, then `setup()`, then use `train_set` and `test_set`.

    Args:
        resolution: pixels of a side; images are resized to it.
        channels: 1 or 3; refused if the files have others and cannot be converted.
        classes: number of classes; refused if the files have others. 0 leaves the labels away: all are 0.
        batch_size: real images of one D update over all processes.
        flip: whether the model flips half of the images horizontally.
        path: folder to look for the files in.
        workers: processes that decode a set that is not held in memory.
        memory_gb: a part of up to this many gigabytes, resized, is held in memory.
        classifier: name of the repository's own classifier of these images, or None.
        bounded: whether the items are pixels, which networks see in [-1, 1]; else they are floats of any size.
        limit: train on this many of the training images, drawn once and for all, whatever the run's seed; 0: on all.
            `train_set` stays whole, so that scores compare with all of it.

    Raises:
        InputError: in `prepare_data` and `setup`, if files are missing, damaged or do not fit the arguments.
    """

    train_set: ImageSet
    test_set: ImageSet | None

    def __init__(
        self,
        *,
        resolution: int,
        channels: int,
        classes: int,
        batch_size: int,
        flip: bool,
        path: str = ".",
        workers: int = 0,
        memory_gb: float = 3.0,
        classifier: str | None = None,
        bounded: bool = True,
        limit: int = 0,
    ):
        super().__init__()
        self.resolution, self.channels, self.classes = resolution, channels, classes
        self.batch_size, self.flip, self.workers, self.memory_gb = batch_size, flip, workers, memory_gb
        self.path, self.classifier, self.bounded = Path(path).expanduser(), classifier, bounded
        self.limit = limit

    @abstractmethod
    def read(self) -> tuple[Split, Split | None]:
        """The training part, and the test part where there is one. Every process does this."""

    def setup(self, stage: str | None = None) -> None:
        """Read the files, check them against the arguments, and hold them in memory if they fit."""
        if hasattr(self, "train_set"):
            return
        if self.resolution < 1:
            raise InputError(f"data.resolution={self.resolution}: choose 1 or more pixels")
        train, test = self.read()
        if not 0 <= self.limit <= len(train.images):
            raise InputError(
                f"data.limit={self.limit}, but {train.images.where} holds {len(train.images)} training images: choose "
                "fewer, or 0 for all"
            )
        self.test_set = None if test is None else self._load(test)
        self.train_set = self._load(train)

    def train_dataloader(self) -> Loader:
        """The endless loader, starting at the iteration that the model has reached."""
        assert self.trainer is not None
        model: Any = self.trainer.lightning_module
        sizes = getattr(model, "batch_sizes", None)
        images: int | Tensor = len(self.train_set)
        if self.limit:
            images = torch.randperm(len(self.train_set), generator=generator(0, "limit"))[: self.limit]
        iterations = Iterations(
            images, model.seed, model.share, model.rules.d_steps, start=model.iteration, sizes=sizes
        )
        return Loader(self.train_set, iterations, self.workers)

    def _load(self, split: Split) -> ImageSet:
        images, labels = split.images, self._checked_labels(split)
        if images.bytes > self.memory_gb * 1e9:
            return StreamedSet(images, labels)
        log.info("reading %d images of %s into memory", len(images), images.where)
        return MemorySet(images.read_all(), labels)

    def _checked_labels(self, split: Split) -> Tensor:
        """The labels to use: those of the files, or zeros where the configuration has no classes.

        Raises:
            InputError: if images or labels are not what the arguments say.
        """
        images, where = split.images, split.images.where
        if not len(images):
            raise InputError(f"{where} holds no images")
        if images.channels != self.channels:
            raise InputError(
                f"data.channels={self.channels}, but the images of {where} have {images.channels}: "
                f"set data.channels={images.channels}"
            )
        if (images.dtype == torch.uint8) != self.bounded:
            kind = "points of any size" if self.bounded else "pixels"
            raise InputError(
                f"data.bounded={str(self.bounded).lower()}, but {where} holds {kind}: "
                f"set data.bounded={str(not self.bounded).lower()}"
            )
        if self.classes == 0:
            return torch.zeros(len(images), dtype=torch.int64)
        found = 0 if split.labels is None else int(split.labels.max()) + 1
        if split.labels is None or self.classes != found:
            raise InputError(
                f"data.classes={self.classes}, but {where} holds {found} classes: "
                f"set data.classes={found}" + (", or 0 to leave the labels away" if found else "")
            )
        return split.labels
