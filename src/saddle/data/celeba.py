"""CelebA, aligned and cropped."""

from __future__ import annotations

import zipfile
from pathlib import Path

from saddle.config.folders import find_images
from saddle.data.base import Split
from saddle.data.files import GOOGLE_DRIVE, made_whole, reading
from saddle.data.images import FileImages
from saddle.data.public import Download, PublicData

_FOLDER, _ARCHIVE = "img_align_celeba", "img_align_celeba.zip"


class CelebA(PublicData):
    """202,599 faces of 178 x 218 pixels (Liu et al., ICCV 2015), all of them for training, without labels.

    An image is cropped to its centre 178 x 178 and resized. The zip file, whose download needs gdown (of the extra
    `data`), is extracted once.
    """

    title = "celeba"
    files = (_FOLDER,)
    downloads = (
        Download(_ARCHIVE, [f"{GOOGLE_DRIVE}0B7EVK8r0v71pZjFTYXZWM3FlRnM"], md5="00d2c5bc6d35e252742224ab0c1e8fcb"),
    )

    def unpack(self, folder: Path) -> None:
        archive = folder / _ARCHIVE
        with reading(archive), zipfile.ZipFile(archive) as pack, made_whole(folder / _FOLDER) as work:
            pack.extractall(work.parent, [name for name in pack.namelist() if name.startswith(f"{_FOLDER}/")])
            if not work.is_dir():
                raise KeyError(f"no folder {_FOLDER} in it")

    def read(self) -> tuple[Split, Split | None]:
        folder = self.found() / _FOLDER
        return Split(FileImages(find_images(folder), self.resolution, self.channels, str(folder))), None
