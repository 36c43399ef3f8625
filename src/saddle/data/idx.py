"""MNIST and Fashion-MNIST: the gzipped or plain IDX files of LeCun's format."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import ClassVar

import numpy as np
from torchvision import datasets

from saddle.data.base import Split
from saddle.data.files import damaged, first_with, reading
from saddle.data.images import ArrayImages
from saddle.data.public import Download, PublicData
from saddle.errors import InputError


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or not, as a uint8 array.

    The format: two zero bytes, 8 (unsigned byte), the number of dimensions, the big-endian 32-bit sizes, the values.

    Raises:
        InputError: if the header or the length is wrong.
    """
    with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read()
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise damaged(path, f"no IDX file of {dimensions} dimensions of bytes")
    sizes = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if len(content) != header + np.prod(sizes, dtype=np.int64):
        raise damaged(path, f"its header announces {sizes}, but it has {len(content)} bytes")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


class IDX(PublicData):
    """Base of both: 28 x 28 grey images in 10 classes, padded with black to 32 x 32 unless 28 is asked for.

    The files may be gzipped, as they are downloaded, or plain; they are also looked for where torchvision and the
    operating system put them.
    """

    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    packaged: ClassVar[tuple[Path, ...]] = ()  # where an operating system's package of the files puts them
    others: ClassVar[bytes]  # the first labels of the sibling, whose files have the same names

    def folders(self) -> list[Path]:
        torchvisions = self.path / type(self).__name__ / "raw"
        return [self.path / self.title, torchvisions, self.path, *self.packaged]

    def find(self) -> Path | None:
        """The folder with the gzipped files, else that with the plain ones, or None."""
        return first_with(self.folders(), [f"{name}.gz" for name in self.files]) or super().find()

    def read(self) -> tuple[Split, Split | None]:
        folder = self.found()
        return self._split(folder, *self.files[:2]), self._split(folder, *self.files[2:])

    def _split(self, folder: Path, images_name: str, labels_name: str) -> Split:
        images, labels = (
            read_idx(path if (path := folder / f"{name}.gz").exists() else folder / name, dimensions)
            for name, dimensions in ((images_name, 3), (labels_name, 1))
        )
        if len(images) != len(labels) or images.shape[1:] != (28, 28):
            raise damaged(folder / images_name, f"{images.shape} images and {len(labels)} labels")
        if labels[: len(self.others)].tobytes() == self.others:
            raise InputError(f"{folder} holds another data set than {self.title}: set data.path to its own folder")
        return Split(ArrayImages(images[:, None], self.resolution, str(folder), pad=2), labels)


def _downloads(torchvision: type[datasets.MNIST]) -> list[Download]:
    return [Download(name, [m + name for m in torchvision.mirrors], md5) for name, md5 in torchvision.resources]


class MNIST(IDX):
    """Handwritten digits, 60,000 + 10,000 (LeCun, Cortes and Burges, 1998)."""

    title = "mnist"
    downloads = _downloads(datasets.MNIST)
    others = bytes([9, 0, 0, 3, 0, 2, 7, 2])


class FashionMNIST(IDX):
    """Photographs of clothes, 60,000 + 10,000 (Xiao, Rasul and Vollgraf, arXiv:1708.07747)."""

    title = "fashion_mnist"
    downloads = _downloads(datasets.FashionMNIST)
    packaged = (Path("/usr/share/datasets/fashion-mnist"),)
    otherwise = ", or install Debian's package (apt install dataset-fashion-mnist)"
    others = bytes([5, 0, 4, 1, 9, 2, 1, 3])
