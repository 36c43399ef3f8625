"""Files and archives of data sets: finding, downloading, writing and reading them, and the error for a damaged one."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tarfile
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchvision.datasets.utils import download_file_from_google_drive, download_url

from saddle.errors import InputError

GOOGLE_DRIVE = "https://drive.google.com/uc?id="
_SECONDS = 20.0  # without an answer, after which a download has failed
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def first_with(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first of `folders` that holds all files (or folders) of `names`, or None."""
    return next((folder for folder in folders if all((folder / name).exists() for name in names)), None)


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` to write to, renamed to `target` when the block ends without an exception.

    So nobody, not even a job that prepares the same data at the same time, ever sees a part of a file or folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield work / target.name
        if not (target.is_dir() and any(target.iterdir())):  # another job was faster
            os.replace(work / target.name, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def download(mirrors: Sequence[str], target: Path, md5: str) -> None:
    """Downloads `target` from the first of the URLs `mirrors` that gives a file with this checksum.

    Raises:
        InputError: if it cannot be written.
        OSError: if none does; its message has the reason of each.
    """
    reasons = []
    for url in mirrors:
        try:
            with made_whole(target) as work:
                _download_url(url, work, md5)
            return
        except Exception as error:  # urllib, torchvision (a wrong checksum) and gdown each have errors of their own
            if isinstance(error, OSError) and error.errno and (error.filename or error.errno in _FULL):
                raise refused(target, error) from error  # the network's errors name no file
            reasons.append(f"{url}: {' '.join(str(error).split())}")
    raise OSError("; ".join(reasons))


def _download_url(url: str, target: Path, md5: str) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        if url.startswith(GOOGLE_DRIVE):  # which shows a page about viruses instead of a large file
            download_file_from_google_drive(url.removeprefix(GOOGLE_DRIVE), str(target.parent), target.name, md5)
        else:
            download_url(url, str(target.parent), target.name, md5)
    finally:
        socket.setdefaulttimeout(before)


def files_in_tar(archive: Path, names: Sequence[str]) -> Iterator[IO[bytes]]:
    """Files of a gzipped tar archive, one after the other, open for reading.

    Raises:
        KeyError: if there is no file of a name.
    """
    with tarfile.open(archive, "r:gz") as tar:
        for name in names:
            file = tar.extractfile(name)
            if file is None:
                raise KeyError(f"{name} is no file")
            with file:
                yield file


@contextmanager
def reading(path: Path, remedy: str = "delete it and get it anew") -> Iterator[None]:
    """Inside, the file `path` is read or unpacked, and nothing else is done.

    Raises:
        InputError: for anything that is raised inside. An error of the file system, there or where it is unpacked to,
            is told as such; of whatever else a library says of its bytes, that `path` is damaged, and the remedy.
    """
    try:
        with open(path, "rb"):  # so that none of the libraries has to say it in its own words
            pass
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory ({error}): use a machine with more") from error
    except OSError as error:
        # gzip and others raise it without a number for what they read
        raise (damaged(path, error, remedy) if error.errno is None else refused(path, error)) from error
    except Exception as error:
        raise damaged(path, error, remedy) from error


def damaged(path: Path | str, reason: object, remedy: str = "delete it and get it anew") -> InputError:
    """The error for a file that is not what its name says."""
    return InputError(f"{path} is damaged ({textwrap.shorten(str(reason), 200, placeholder=' ...')}): {remedy}")


def refused(path: Path | str, error: OSError) -> InputError:
    """The error for a file that cannot be read, written or unpacked, whatever is in it."""
    remedy = f"{'make room there' if error.errno in _FULL else 'see to that'}, or use another place"
    return InputError(f"{path} could not be read or written ({error}): {remedy}")
