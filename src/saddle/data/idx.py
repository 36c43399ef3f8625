"""MNIST and Fashion-MNIST: the gzipped or plain IDX files of LeCun's format."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torchvision import datasets

from saddle.data.base import DataModule, Part
from saddle.data.files import damaged, download, first_with
from saddle.data.images import ArrayImages
from saddle.errors import InputError

_FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or not, as a uint8 array.

    The format: two zero bytes, 8 (unsigned byte), the number of dimensions, the big-endian 32-bit sizes, the values.

    Raises:
        InputError: if the header or the length is wrong.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise damaged(path, f"no IDX file of {dimensions} dimensions of bytes")
    sizes = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if len(content) != header + np.prod(sizes, dtype=np.int64):
        raise damaged(path, f"its header announces {sizes}, but it has {len(content)} bytes")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


class IDX(DataModule):
    """Base of both: 28 x 28 grey images in 10 classes, padded with black to 32 x 32 unless 28 is asked for.

    The files are looked for in data.path, its sub-folders of the data set's name, and the folders of `packaged`;
    else they are downloaded to the first of the sub-folders.
    """

    title: ClassVar[str]
    folders: ClassVar[tuple[str, ...]]  # below data.path; where torchvision puts the files is one of them
    packaged: ClassVar[tuple[Path, ...]] = ()
    package: ClassVar[str] = ""  # how an operating system's package of the files is installed
    mirrors: ClassVar[list[str]]
    checksums: ClassVar[list[tuple[str, str]]]  # name and md5 of each download
    others: ClassVar[bytes]  # the first labels of the sibling, whose files have the same names

    def look(self) -> None:
        if self._find() is not None:
            return
        target = self.path / self.folders[0]
        try:
            for name, md5 in self.checksums:
                download([mirror + name for mirror in self.mirrors], target / name, md5)
        except OSError as error:
            raise InputError(
                f"data={self.title}: not found, and the download failed ({error}). "
                f"Put {', '.join(name for name, _ in self.checksums)} into {target} (or set data.path)"
                f"{self.package}, or connect to the network"
            ) from error

    def read(self) -> tuple[Part, Part | None]:
        folder = self._find()
        if folder is None:
            raise InputError(f"data={self.title}: no files in {self.path / self.folders[0]}")
        train, test = (self._part(folder, *_FILES[:2]), self._part(folder, *_FILES[2:]))
        return train, test

    def _find(self) -> Path | None:
        folders = [*(self.path / name for name in self.folders), self.path, *self.packaged]
        for suffix in (".gz", ""):
            found = first_with(folders, [name + suffix for name in _FILES])
            if found is not None:
                return found
        return None

    def _part(self, folder: Path, images_name: str, labels_name: str) -> Part:
        images, labels = (
            read_idx(path if (path := folder / f"{name}.gz").exists() else folder / name, dimensions)
            for name, dimensions in ((images_name, 3), (labels_name, 1))
        )
        if len(images) != len(labels) or images.shape[1:] != (28, 28):
            raise damaged(folder / images_name, f"{images.shape} images and {len(labels)} labels")
        if labels[: len(self.others)].tobytes() == self.others:
            raise InputError(f"{folder} holds another data set than {self.title}: set data.path to its own folder")
        array = ArrayImages(images[:, None], self.resolution, str(folder), pad=2)
        return Part(array, torch.from_numpy(labels.astype(np.int64)))


class MNIST(IDX):
    """Handwritten digits, 60,000 + 10,000 (LeCun, Cortes and Burges, 1998)."""

    title = "mnist"
    folders = ("mnist", "MNIST/raw")
    mirrors = datasets.MNIST.mirrors
    checksums = datasets.MNIST.resources
    others = bytes([9, 0, 0, 3, 0, 2, 7, 2])


class FashionMNIST(IDX):
    """Photographs of clothes, 60,000 + 10,000 (Xiao, Rasul and Vollgraf, arXiv:1708.07747)."""

    title = "fashion_mnist"
    folders = ("fashion_mnist", "FashionMNIST/raw")
    packaged = (Path("/usr/share/datasets/fashion-mnist"),)
    package = ", or install Debian's package (apt install dataset-fashion-mnist)"
    mirrors = datasets.FashionMNIST.mirrors
    checksums = datasets.FashionMNIST.resources
    others = bytes([5, 0, 4, 1, 9, 2, 1, 3])
