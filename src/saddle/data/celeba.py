"""CelebA, aligned and cropped."""

from __future__ import annotations

import zipfile
from pathlib import Path

from torchvision.datasets.utils import download_file_from_google_drive

from saddle.config.folders import find_images
from saddle.data.base import DataModule, Part
from saddle.data.files import damaged, first_with, made_whole
from saddle.data.images import FileImages
from saddle.errors import InputError

_FOLDER, _ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
_DRIVE_ID, _MD5 = "0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"


class CelebA(DataModule):
    """202,599 faces of 178 x 218 pixels (Liu et al., ICCV 2015), all of them for training, without labels.

    An image is cropped to its centre 178 x 178 and resized. `img_align_celeba` or its zip file is looked for in
    data.path and its sub-folder `celeba`; the zip file, downloaded if there is none (which needs gdown, of the extra
    `data`), is extracted once.
    """

    def look(self) -> None:
        if self._find() is not None:
            return
        folder = first_with([self.path / "celeba", self.path], [_ARCHIVE]) or self.path / "celeba"
        if not (folder / _ARCHIVE).exists():
            try:
                with made_whole(folder / _ARCHIVE) as work:
                    download_file_from_google_drive(_DRIVE_ID, work.parent, work.name, _MD5)
            except Exception as error:
                raise InputError(
                    f"data=celeba: not found, and the download failed ({' '.join(str(error).split())}). "
                    f"Put {_ARCHIVE} into {folder}, or set data.path"
                ) from error
        _extract(folder / _ARCHIVE, folder / _FOLDER)

    def read(self) -> tuple[Part, Part | None]:
        folder = self._find()
        if folder is None:
            raise InputError(f"data=celeba: no {_ARCHIVE} in {self.path / 'celeba'}")
        return Part(FileImages(find_images(folder), self.resolution, self.channels, str(folder)), None), None

    def _find(self) -> Path | None:
        root = first_with([self.path / "celeba", self.path], [_FOLDER])
        return None if root is None else root / _FOLDER


def _extract(archive: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as pack, made_whole(target) as work:
            pack.extractall(work.parent, [name for name in pack.namelist() if name.startswith(f"{_FOLDER}/")])
            if not work.is_dir():
                raise damaged(archive, f"no folder {_FOLDER} in it")
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise damaged(archive, error) from error
