"""CIFAR-10 and CIFAR-100 in their binary version, which is read without unpickling anything."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from saddle.data.base import Split
from saddle.data.files import damaged, files_in_tar, reading
from saddle.data.images import ArrayImages
from saddle.data.public import Download, PublicData

_PIXELS = 3 * 32 * 32


class CIFAR(PublicData):
    """Base of both: 50,000 + 10,000 colour images of 32 x 32 pixels (Krizhevsky, 2009).

    Read from the extracted folder, else from the archive as it is. The last of `files` is the test part.
    """

    label_bytes: ClassVar[int]  # before the pixels of each image; the last of them is the class

    def find(self) -> Path | None:
        """The folder with the files, else the archive, or None."""
        folder, downloads = super().find(), self.find_downloads()
        if folder is None and downloads is not None:
            return downloads / self.downloads[0].name
        return folder

    def read(self) -> tuple[Split, Split | None]:
        where = self.found()
        if where.is_dir():
            contents = []
            for name in self.files:
                with reading(where / name):
                    contents.append((where / name).read_bytes())
        else:
            with reading(where):
                names = [f"{self.unpacked}/{name}" for name in self.files]
                contents = [file.read() for file in files_in_tar(where, names)]
        record = self.label_bytes + _PIXELS
        for name, content in zip(self.files, contents, strict=True):
            if not content or len(content) % record:
                raise damaged(where, f"{name} has {len(content)} bytes, no multiple of {record}")
        return self._split(b"".join(contents[:-1]), where), self._split(contents[-1], where)

    def _split(self, content: bytes, where: Path) -> Split:
        records = np.frombuffer(content, np.uint8).reshape(-1, self.label_bytes + _PIXELS)
        images = records[:, self.label_bytes :].reshape(-1, 3, 32, 32)
        return Split(ArrayImages(images, self.resolution, str(where)), records[:, self.label_bytes - 1])


def _archive(name: str, md5: str) -> Download:
    return Download(name, [f"https://www.cs.toronto.edu/~kriz/{name}"], md5)


class CIFAR10(CIFAR):
    """Ten classes; a record is the class and the pixels."""

    title = "cifar10"
    files = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
    unpacked = "cifar-10-batches-bin"
    downloads = (_archive("cifar-10-binary.tar.gz", md5="c32a1d4ab5d03f1284b67883e8d87530"),)
    label_bytes = 1


class CIFAR100(CIFAR):
    """A hundred classes; a record is one of 20 super-classes, the class and the pixels."""

    title = "cifar100"
    files = ("train.bin", "test.bin")
    unpacked = "cifar-100-binary"
    downloads = (_archive("cifar-100-binary.tar.gz", md5="03b5dce01913d631647c71ecec9e9cb8"),)
    label_bytes = 2
