"""CIFAR-10 and CIFAR-100 in their binary version, which is read without unpickling anything."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from saddle.data.base import DataModule, Part
from saddle.data.files import damaged, download, first_with
from saddle.data.images import ArrayImages
from saddle.errors import InputError

_URL = "https://www.cs.toronto.edu/~kriz/"
_PIXELS = 3 * 32 * 32


class CIFAR(DataModule):
    """Base of both: 50,000 + 10,000 colour images of 32 x 32 pixels (Krizhevsky, 2009).

    The extracted folder or the archive is looked for in data.path and in its sub-folder of the data set's name; else
    the archive is downloaded to the latter and its checksum verified.
    """

    title: ClassVar[str]
    archive: ClassVar[str]
    md5: ClassVar[str]  # from the data set's page
    folder: ClassVar[str]  # in the archive
    train_files: ClassVar[tuple[str, ...]]
    test_files: ClassVar[tuple[str, ...]]
    label_bytes: ClassVar[int]  # before the pixels of each image; the last of them is the class

    def look(self) -> None:
        if self._find_folder() is not None or self._find_archive() is not None:
            return
        target = self.path / self.title / self.archive
        try:
            download([_URL + self.archive], target, self.md5)
        except OSError as error:
            raise InputError(
                f"data={self.title}: not found, and the download failed ({error}). "
                f"Put {self.archive} (the binary version) into {target.parent}, or set data.path"
            ) from error

    def read(self) -> tuple[Part, Part | None]:
        folder, archive = self._find_folder(), self._find_archive()
        if folder is not None:
            files = {name: (folder / name).read_bytes() for name in (*self.train_files, *self.test_files)}
            return self._part(files, self.train_files, folder), self._part(files, self.test_files, folder)
        if archive is None:
            raise InputError(f"data={self.title}: no {self.archive} in {self.path / self.title}")
        files = self._unpack(archive)
        return self._part(files, self.train_files, archive), self._part(files, self.test_files, archive)

    def _find_folder(self) -> Path | None:
        roots = (self.path / self.title, self.path)
        folders = [*(root / self.folder for root in roots), *roots]
        return first_with(folders, [*self.train_files, *self.test_files])

    def _find_archive(self) -> Path | None:
        folder = first_with([self.path / self.title, self.path], [self.archive])
        return None if folder is None else folder / self.archive

    def _unpack(self, archive: Path) -> dict[str, bytes]:
        files = {}
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for name in (*self.train_files, *self.test_files):
                    member = tar.extractfile(f"{self.folder}/{name}")
                    if member is None:
                        raise damaged(archive, f"{name} is no file")
                    files[name] = member.read()
        except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
            raise damaged(archive, error) from error
        return files

    def _part(self, files: dict[str, bytes], names: tuple[str, ...], where: Path) -> Part:
        record = self.label_bytes + _PIXELS
        for name in names:
            if not files[name] or len(files[name]) % record:
                raise damaged(where, f"{name} has {len(files[name])} bytes, no multiple of {record}")
        records = np.frombuffer(b"".join(files[name] for name in names), np.uint8).reshape(-1, record)
        images = records[:, self.label_bytes :].reshape(-1, 3, 32, 32)
        labels = torch.from_numpy(records[:, self.label_bytes - 1].astype(np.int64))
        return Part(ArrayImages(images, self.resolution, str(where)), labels)


class CIFAR10(CIFAR):
    """Ten classes; a record is the class and the pixels."""

    title = "cifar10"
    archive = "cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    folder = "cifar-10-batches-bin"
    train_files = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    test_files = ("test_batch.bin",)
    label_bytes = 1


class CIFAR100(CIFAR):
    """A hundred classes; a record is one of 20 super-classes, the class and the pixels."""

    title = "cifar100"
    archive = "cifar-100-binary.tar.gz"
    md5 = "03b5dce01913d631647c71ecec9e9cb8"
    folder = "cifar-100-binary"
    train_files = ("train.bin",)
    test_files = ("test.bin",)
    label_bytes = 2
