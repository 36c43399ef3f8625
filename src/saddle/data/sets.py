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

    Args:
        images: N of them; what they are kept in, a subclass says.
        labels: int64 [N].

    Attributes:
        in_memory: whether indexing it costs next to nothing.
        dtype: of the images: uint8 pixels, or floats that nothing may quantise.
    """

    in_memory: bool

    def __init__(self, images: Tensor | Images, labels: Tensor):
        self.images, self.labels, self.dtype = images, labels, images.dtype
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """([n, C, H, W] of `dtype`, int64 [n]) of the images at `indices`; uint8 from 0 to 255."""
        chosen = np.asarray(indices)
        # one memory copy per image in this thread: torch's indexing wakes its pool of threads for as little
        return self._read(chosen), torch.from_numpy(self.labels.numpy().take(chosen))

    @abstractmethod
    def _read(self, chosen: np.ndarray) -> Tensor: ...

    def fingerprint(self) -> str:
        """A hash of what the set holds, for caches; computed once.

        In memory: of all pixels and labels. Else: of what `Images.fingerprint` reads, and the labels.
        """
        if not self._fingerprint:
            digest = hashlib.sha256(self._content().encode())
            digest.update(self.labels.numpy().data)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @abstractmethod
    def _content(self) -> str: ...


class MemorySet(ImageSet):
    """Images in one tensor [N, C, H, W], uint8 pixels or floats."""

    in_memory = True
    images: Tensor

    def _read(self, chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(self.images.numpy().take(chosen, 0))

    def _content(self) -> str:
        return f"{tuple(self.images.shape)} {hashlib.sha256(self.images.contiguous().numpy().data).hexdigest()}"


class StreamedSet(ImageSet):
    """Images that are read when they are asked for."""

    in_memory = False
    images: Images

    def _read(self, chosen: np.ndarray) -> Tensor:
        return self.images.read(chosen.tolist())

    def _content(self) -> str:
        return self.images.fingerprint()
