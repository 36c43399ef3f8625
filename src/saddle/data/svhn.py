"""Street View House Numbers, cropped digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torchvision import datasets

from saddle.data.base import DataModule, Part
from saddle.data.files import damaged, download, first_with
from saddle.data.images import ArrayImages
from saddle.errors import InputError

_SPLITS = {split: datasets.SVHN.split_list[split] for split in ("train", "test")}  # URL, name, md5


class SVHN(DataModule):
    """73,257 + 26,032 colour images of 32 x 32 pixels (Netzer et al., 2011); needs scipy (the extra `data`).

    The two .mat files are looked for in data.path and its sub-folder `svhn`; else they are downloaded to the latter.
    """

    def look(self) -> None:
        if self._find() is not None:
            return
        try:
            for url, name, md5 in _SPLITS.values():
                download([url], self.path / "svhn" / name, md5)
        except OSError as error:
            raise InputError(
                f"data=svhn: not found, and the download failed ({error}). "
                f"Put {' and '.join(name for _, name, _ in _SPLITS.values())} into {self.path / 'svhn'}, "
                "or set data.path"
            ) from error

    def read(self) -> tuple[Part, Part | None]:
        folder = self._find()
        if folder is None:
            raise InputError(f"data=svhn: no files in {self.path / 'svhn'}")
        return self._part(folder / "train_32x32.mat"), self._part(folder / "test_32x32.mat")

    def _find(self) -> Path | None:
        return first_with([self.path / "svhn", self.path], [name for _, name, _ in _SPLITS.values()])

    def _part(self, path: Path) -> Part:
        try:
            from scipy.io import loadmat
        except ImportError as error:
            raise InputError("data=svhn needs scipy: pip install 'saddle-gan[data]'") from error
        try:
            content = loadmat(path, variable_names=["X", "y"])
            pixels, labels = content["X"], content["y"].ravel()
        except Exception as error:
            raise damaged(path, error) from error
        if pixels.shape != (32, 32, 3, len(labels)) or pixels.dtype != np.uint8:
            raise damaged(path, f"{pixels.dtype} images {pixels.shape} and {len(labels)} labels")
        images = ArrayImages(pixels.transpose(3, 2, 0, 1), self.resolution, str(path))
        return Part(images, torch.from_numpy(labels.astype(np.int64) % 10))  # the files call the digit 0 class 10
