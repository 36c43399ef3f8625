"""Image folders on disk. Nothing here imports torch, so the configuration check can use it too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from saddle.errors import InputError

EXTENSIONS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
FORMATS = tuple(dict.fromkeys(EXTENSIONS.values()))  # as Pillow calls them


def count_classes(path: str) -> int:
    """Number of classes of an image folder: the resolver behind ``${count_classes:${data.path}}``.

    The classes are the direct sub-folders that hold images, at any depth. A folder with images outside of them, with
    fewer than two of them, or that does not exist has no classes: 0.
    """
    return len(_classes(path))


def find_images(path: str | Path) -> list[str]:
    """All image files below `path`, see `walk_images`, in a fixed order.

    Raises:
        InputError: if there is no such folder, no image in it, or a folder in it cannot be listed.
    """
    if not os.path.isdir(path):
        raise InputError(f"data.path={path}: there is no such folder; give a folder of images")
    files = sorted(walk_images(path))
    if not files:
        raise InputError(f"data.path={path}: no image in this folder; it reads {', '.join(sorted(EXTENSIONS))}")
    return files


def find_labelled_images(path: str | Path) -> tuple[list[str], list[int] | None]:
    """All images below `path`, and the class of each, or None where `count_classes` is 0.

    The classes are numbered in the order of the names of their folders.

    Raises:
        InputError: if there is no such folder, or no image in it.
    """
    files = find_images(path)
    classes = {name: index for index, name in enumerate(_classes(path))}
    if not classes:
        return files, None
    return files, [classes[Path(file).relative_to(path).parts[0]] for file in files]


def _classes(path: str | Path) -> list[str]:
    if not os.path.isdir(path):
        return []
    visible = _visible(os.fspath(path))
    if any(_is_image(entry) for entry in visible):
        return []
    names = [entry.name for entry in visible if _is_folder(entry) and next(walk_images(entry.path), None) is not None]
    return names if len(names) > 1 else []


def walk_images(path: str | Path) -> Iterator[str]:
    """The image files below a folder, by extension; nothing in it that is neither a file nor a folder, such as a pipe.

    Hidden files and folders are left out. Links to folders are followed; one that leads nowhere is listed too.

    Raises:
        InputError: if a folder cannot be listed.
    """
    seen, folders = set(), [os.fspath(path)]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above would go round in circles
            continue
        seen.add(real)
        entries = _visible(folder)
        folders += [entry.path for entry in reversed(entries) if _is_folder(entry)]
        yield from (entry.path for entry in entries if _is_image(entry))


def _visible(folder: str) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, in the order of their names."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror}): see to it, or leave it out") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_image(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() not in EXTENSIONS:
        return False
    return not _is_folder(entry) if entry.is_symlink() else entry.is_file()
