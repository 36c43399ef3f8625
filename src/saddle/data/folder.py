"""Folders of image files: any folder, and ImageNet's."""

from __future__ import annotations

from pathlib import Path

from saddle.config.folders import find_labelled_images
from saddle.data.base import DataModule, Split
from saddle.data.files import first_with
from saddle.data.images import FileImages
from saddle.errors import InputError


class Folder(DataModule):
    """The images of the folder data.path and its sub-folders; there is no test part.

    If all images are in sub-folders, of which there are two or more, these are the classes, in the order of their
    names; see `saddle.config.folders.count_classes`.
    """

    def read(self) -> tuple[Split, Split | None]:
        return self._split(self.path), None

    def _split(self, folder: Path) -> Split:
        files, labels = find_labelled_images(folder)
        return Split(FileImages(files, self.resolution, self.channels, str(folder)), labels)


class ImageNet(Folder):
    """ILSVRC 2012 (Russakovsky et al., arXiv:1409.0575): 1,281,167 training images in 1,000 folders.

    `train` with its class folders is looked for in data.path and its sub-folder `imagenet`, and beside it `val`, the
    test part, sorted into the same folders; without `val` there is no test part. Nothing is downloaded.
    """

    def read(self) -> tuple[Split, Split | None]:
        root = first_with([self.path / "imagenet", self.path], ["train"])
        if root is None:
            raise InputError(
                f"data=imagenet: no folder train in {self.path / 'imagenet'} or {self.path}: get ILSVRC 2012 from "
                "image-net.org, unpack it to train/<class>/<image>.JPEG, and set data.path"
            )
        return self._split(root / "train"), self._split(root / "val") if (root / "val").is_dir() else None
