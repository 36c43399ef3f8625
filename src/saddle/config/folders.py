"""Image folders on disk. Nothing here imports torch, so the configuration check can use it too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from saddle.errors import InputError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def count_classes(path: str) -> int:
    """Number of classes of an image folder: the resolver behind ``${count_classes:${data.path}}``.

    The classes are the direct sub-folders that hold images, at any depth. A folder with images outside of them, with
    fewer than two of them, or that does not exist has no classes: 0.
    """
    return len(_classes(path))


def find_images(path: str | Path) -> list[str]:
    """All image files below `path`, by extension, in a fixed order.

    Hidden files and folders are left out. Links to folders are followed.

    Raises:
        InputError: if there is no such folder, or no image in it.
    """
    if not os.path.isdir(path):
        raise InputError(f"data.path={path}: there is no such folder; give a folder of images")
    files = sorted(_images(path))
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
    with os.scandir(path) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    if any(entry.is_file() and _is_image(entry.name) for entry in visible):
        return []
    names = [entry.name for entry in visible if entry.is_dir() and next(_images(entry.path), None) is not None]
    return names if len(names) > 1 else []


def _images(path: str | Path) -> Iterator[str]:
    seen = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above would go round in circles
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(folder, name) for name in names if _is_image(name))


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
