"""Public data sets: their files are looked for on disk, and downloaded where they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from saddle.data.base import DataModule
from saddle.data.files import download, first_with
from saddle.errors import InputError


class Download(NamedTuple):
    """A file that is downloaded from the first of `urls` that gives one with the checksum `md5`."""

    name: str
    urls: Sequence[str]
    md5: str


class PublicData(DataModule):
    """Base of the data sets that can be downloaded.

    Files are looked for in data.path and in its sub-folder of the data set's name; downloads go to the latter.

    Attributes:
        title: name of the data set, as on the command line.
        files: files or folders that `read` needs, all of them in one folder.
        downloads: what to download: these files, or an archive of them.
        unpacked: name of the folder with `files` that comes out of the archive, where there is one.
        otherwise: a further way to get the files, for the error message.
    """

    title: ClassVar[str]
    files: ClassVar[Sequence[str]]
    downloads: ClassVar[Sequence[Download]]
    unpacked: ClassVar[str] = ""
    otherwise: ClassVar[str] = ""

    def folders(self) -> list[Path]:
        """Where files and downloads are looked for, in this order."""
        return [self.path / self.title, self.path]

    def find(self) -> Path | None:
        """The folder with `files`, or None."""
        return first_with([folder / name for name in (self.unpacked, "") for folder in self.folders()], self.files)

    def find_downloads(self) -> Path | None:
        """The folder with what was downloaded, or None."""
        return first_with(self.folders(), [file.name for file in self.downloads])

    def prepare_data(self) -> None:
        """Find the files; else download what is missing, and unpack it.

        Raises:
            InputError: if that fails; it says which file to put where.
        """
        if self.find() is not None:
            return
        folder = self.find_downloads()
        if folder is None:
            folder = self.path / self.title
            try:
                for name, urls, md5 in self.downloads:
                    download(urls, folder / name, md5)
            except OSError as error:
                raise InputError(
                    f"data={self.title}: not found, and the download failed ({error}). Put "
                    f"{' and '.join(file.name for file in self.downloads)} into {folder}, or set data.path"
                    f"{self.otherwise}, or connect to the network"
                ) from error
        self.unpack(folder)

    def unpack(self, folder: Path) -> None:
        """Unpack the archive in `folder` there. Nothing, where `read` takes the downloads as they are."""

    def found(self) -> Path:
        """What `find` finds; InputError if that is nothing."""
        found = self.find()
        if found is None:
            places = " or ".join(map(str, self.folders()))
            raise InputError(f"data={self.title}: no {' and '.join(self.files)} in {places}: set data.path")
        return found
