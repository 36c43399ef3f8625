"""Street View House Numbers, cropped digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from torchvision import datasets

from saddle.data.base import Split
from saddle.data.files import damaged, reading
from saddle.data.images import ArrayImages
from saddle.data.public import Download, PublicData


class SVHN(PublicData):
    """73,257 + 26,032 colour images of 32 x 32 pixels (Netzer et al., 2011)."""

    title = "svhn"
    files = ("train_32x32.mat", "test_32x32.mat")
    downloads = tuple(
        Download(name, [url], md5)
        for url, name, md5 in (datasets.SVHN.split_list["train"], datasets.SVHN.split_list["test"])
    )

    def read(self) -> tuple[Split, Split | None]:
        folder = self.found()
        return self._split(folder / "train_32x32.mat"), self._split(folder / "test_32x32.mat")

    def _split(self, path: Path) -> Split:
        with reading(path):
            content = loadmat(path, variable_names=["X", "y"])
            pixels, labels = content["X"], content["y"].ravel()
        if pixels.shape != (32, 32, 3, len(labels)) or pixels.dtype != np.uint8:
            raise damaged(path, f"{pixels.dtype} images {pixels.shape} and {len(labels)} labels")
        images = ArrayImages(pixels.transpose(3, 2, 0, 1), self.resolution, str(path))
        return Split(images, labels % 10)  # the files call the digit 0 class 10
