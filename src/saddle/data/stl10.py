"""STL-10 in its binary version."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from saddle.data.base import Split
from saddle.data.files import damaged, files_in_tar, made_whole, reading
from saddle.data.images import ArrayImages
from saddle.data.public import Download, PublicData

_URL, _ARCHIVE = "http://ai.stanford.edu/~acoates/stl10/", "stl10_binary.tar.gz"
_SHAPE = (3, 96, 96)


class STL10(PublicData):
    """Colour images of 96 x 96 pixels (Coates, Lee and Ng, AISTATS 2011).

    data.classes=0 takes the 100,000 unlabelled images, as GAN papers do; data.classes=10 the 5,000 labelled ones. The
    test part is the 8,000 test images. The archive is extracted once.
    """

    title = "stl10"
    files = ("unlabeled_X.bin", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")
    unpacked = "stl10_binary"
    downloads = (Download(_ARCHIVE, [_URL + _ARCHIVE], md5="91f7769df0f17e558f3565bffb0c7dfb"),)

    def unpack(self, folder: Path) -> None:
        archive = folder / _ARCHIVE
        with reading(archive), made_whole(folder / self.unpacked) as work:
            work.mkdir()
            packed = files_in_tar(archive, [f"{self.unpacked}/{name}" for name in self.files])
            for name, file in zip(self.files, packed, strict=True):
                with (work / name).open("wb") as copy:
                    shutil.copyfileobj(file, copy)

    def read(self) -> tuple[Split, Split | None]:
        folder = self.found()
        test = self._split(folder / "test_X.bin", folder / "test_y.bin")
        if self.classes == 0:
            return self._split(folder / "unlabeled_X.bin", None), test
        return self._split(folder / "train_X.bin", folder / "train_y.bin"), test

    def _split(self, images_file: Path, labels_file: Path | None) -> Split:
        with reading(images_file):
            size = images_file.stat().st_size
            if not size or size % int(np.prod(_SHAPE)):
                raise damaged(images_file, f"{size} bytes, no multiple of {int(np.prod(_SHAPE))}")
            # a column-major image of MATLAB is a transposed one here
            pixels = np.memmap(images_file, np.uint8, "r").reshape(-1, *_SHAPE).transpose(0, 1, 3, 2)
        images = ArrayImages(pixels, self.resolution, str(images_file.parent))
        if labels_file is None:
            return Split(images)
        with reading(labels_file):
            labels = np.fromfile(labels_file, np.uint8)
        if len(labels) != len(pixels) or labels.min() < 1:
            raise damaged(labels_file, f"{len(labels)} labels from {labels.min()} up for {len(pixels)} images")
        return Split(images, labels - 1)
