"""STL-10 in its binary version."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np
import torch

from saddle.data.base import DataModule, Part
from saddle.data.files import damaged, download, first_with, made_whole
from saddle.data.images import ArrayImages
from saddle.errors import InputError

_ARCHIVE, _FOLDER = "stl10_binary.tar.gz", "stl10_binary"
_URL = "http://ai.stanford.edu/~acoates/stl10/" + _ARCHIVE
_MD5 = "91f7769df0f17e558f3565bffb0c7dfb"
_FILES = ["unlabeled_X.bin", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"]
_SHAPE = (3, 96, 96)


class STL10(DataModule):
    """Colour images of 96 x 96 pixels (Coates, Lee and Ng, AISTATS 2011).

    data.classes=0 takes the 100,000 unlabelled images, as GAN papers do; data.classes=10 the 5,000 labelled ones. The
    test part is the 8,000 test images. The extracted folder or the archive is looked for in data.path and its
    sub-folder `stl10`; the archive, downloaded if there is none, is extracted once.
    """

    def look(self) -> None:
        if self._find() is not None:
            return
        folder = first_with([self.path / "stl10", self.path], [_ARCHIVE]) or self.path / "stl10"
        archive = folder / _ARCHIVE
        if not archive.exists():
            try:
                download([_URL], archive, _MD5)
            except OSError as error:
                raise InputError(
                    f"data=stl10: not found, and the download failed ({error}). "
                    f"Put {_ARCHIVE} into {folder}, or set data.path"
                ) from error
        _extract(archive, folder / _FOLDER)

    def read(self) -> tuple[Part, Part | None]:
        folder = self._find()
        if folder is None:
            raise InputError(f"data=stl10: no {_ARCHIVE} in {self.path / 'stl10'}")
        test = self._part(folder / "test_X.bin", folder / "test_y.bin")
        if self.classes == 0:
            return self._part(folder / "unlabeled_X.bin", None), test
        return self._part(folder / "train_X.bin", folder / "train_y.bin"), test

    def _find(self) -> Path | None:
        roots = (self.path / "stl10", self.path)
        return first_with([*(root / _FOLDER for root in roots), *roots], _FILES)

    def _part(self, images_file: Path, labels_file: Path | None) -> Part:
        size = images_file.stat().st_size
        if not size or size % int(np.prod(_SHAPE)):
            raise damaged(images_file, f"{size} bytes, no multiple of {int(np.prod(_SHAPE))}")
        # a column-major image of MATLAB is a transposed one here
        pixels = np.memmap(images_file, np.uint8, "r").reshape(-1, *_SHAPE).transpose(0, 1, 3, 2)
        images = ArrayImages(pixels, self.resolution, str(images_file.parent))
        if labels_file is None:
            return Part(images, None)
        labels = np.fromfile(labels_file, np.uint8)
        if len(labels) != len(pixels) or labels.min() < 1:
            raise damaged(labels_file, f"{len(labels)} labels from {labels.min()} up for {len(pixels)} images")
        return Part(images, torch.from_numpy(labels.astype(np.int64) - 1))


def _extract(archive: Path, target: Path) -> None:
    try:
        with tarfile.open(archive, "r:gz") as tar, made_whole(target) as work:
            work.mkdir()
            for name in _FILES:
                member = tar.extractfile(f"{_FOLDER}/{name}")
                if member is None:
                    raise damaged(archive, f"{name} is no file")
                with member, (work / name).open("wb") as file:
                    shutil.copyfileobj(member, file)
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise damaged(archive, error) from error
