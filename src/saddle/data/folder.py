"""Folders of image files: any folder, and ImageNet's."""

from __future__ import annotations

from pathlib import Path

import torch

from saddle.config.folders import find_labelled_images
from saddle.data.base import DataModule, Part
from saddle.data.files import first_with
from saddle.data.images import FileImages
from saddle.errors import InputError


class Folder(DataModule):
    """The images of the folder data.path and its sub-folders; there is no test part.

    If all images are in sub-folders, of which there are two or more, these are the classes, in the order of their
    names; see `saddle.config.folders.count_classes`.
    """

    def read(self) -> tuple[Part, Part | None]:
        return self._part(self.path), None

    def _part(self, folder: Path) -> Part:
        if self.channels not in (1, 3):
            raise InputError(f"data.channels={self.channels}: image files are read as 1 (grey) or 3 (RGB) channels")
        files, labels = find_labelled_images(folder)
        images = FileImages(files, self.resolution, self.channels, str(folder))
        return Part(images, None if labels is None else torch.tensor(labels))


class ImageNet(Folder):
    """ILSVRC 2012 (Russakovsky et al., arXiv:1409.0575): 1,281,167 training images in 1,000 folders.

    `train` with its class folders is looked for in data.path and its sub-folder `imagenet`, and beside it `val`, the
    test part, sorted into the same folders; without `val` there is no test part. Nothing is downloaded.
    """

    def read(self) -> tuple[Part, Part | None]:
        root = first_with([self.path / "imagenet", self.path], ["train"])
        if root is None:
            raise InputError(
                f"data=imagenet: no folder train in {self.path / 'imagenet'} or {self.path}: get ILSVRC 2012 from "
                "image-net.org, unpack it to train/<class>/<image>.JPEG, and set data.path"
            )
        return self._part(root / "train"), self._part(root / "val") if (root / "val").is_dir() else None
