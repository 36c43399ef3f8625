"""Map-style sets of labelled images, in memory or decoded as they are asked for."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from saddle.data.images import Images


class ImageSet(Dataset[tuple[Tensor, Tensor]]):
    """N images with labels; all labels are 0 where the data has none.

    Attributes:
        in_memory: whether indexing it costs next to nothing.
        dtype: of the images: uint8 pixels, or floats that nothing may quantise.
    """

    in_memory: bool
    dtype: torch.dtype

    def __init__(self, labels: Tensor):
        self._labels = labels
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    @abstractmethod
    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """([n, C, H, W] of `dtype`, int64 [n]) of the images at `indices`; uint8 from 0 to 255."""

    def labels(self) -> Tensor:
        """All labels, int64 [N]."""
        return self._labels

    def fingerprint(self) -> str:
        """A hash of what the set holds, for caches; computed once.

        In memory: of all pixels and labels. Else: of what `Images.fingerprint` reads, and the labels.
        """
        if not self._fingerprint:
            digest = hashlib.sha256(self._content().encode())
            digest.update(self._labels.numpy().data)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @abstractmethod
    def _content(self) -> str: ...


class MemorySet(ImageSet):
    """Images in one tensor.

    Args:
        images: [N, C, H, W], uint8 pixels or floats.
        labels: int64 [N].
    """

    in_memory = True

    def __init__(self, images: Tensor, labels: Tensor):
        super().__init__(labels)
        self.images, self.dtype = images, images.dtype

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        chosen = np.asarray(indices)
        # one memory copy per image in this thread: torch's indexing wakes its pool of threads for as little
        images, labels = self.images.numpy().take(chosen, 0), self._labels.numpy().take(chosen)
        return torch.from_numpy(images), torch.from_numpy(labels)

    def _content(self) -> str:
        return f"{tuple(self.images.shape)} {hashlib.sha256(self.images.contiguous().numpy().data).hexdigest()}"


class StreamedSet(ImageSet):
    """Images that are read when they are asked for.

    Args:
        images: reads them.
        labels: int64 [N].
    """

    in_memory = False

    def __init__(self, images: Images, labels: Tensor):
        super().__init__(labels)
        self.images, self.dtype = images, images.dtype

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        chosen = np.asarray(indices)
        return self.images.read(chosen.tolist()), torch.from_numpy(self._labels.numpy().take(chosen))

    def _content(self) -> str:
        return self.images.fingerprint()
