"""One image file, opened so that it can do no harm. Free of torch."""

from __future__ import annotations

import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from saddle.config.folders import FORMATS
from saddle.errors import InputError


def open_image(source: str | Path | bytes, name: str | None = None) -> Image.Image:
    """The image of a file, decoded, and turned upright where its EXIF data say so.

    Only `FORMATS` are read, whatever the file is called: others, such as EPS, would start programs. A sound picture
    with broken EXIF data is used; it is turned where they still say how.

    Args:
        source: a path, or the bytes of a file.
        name: what an error message calls it; None for the path.

    Raises:
        InputError: with the reason of the file system, if it cannot be read; of Pillow, if it cannot be decoded.
    """
    name = str(source) if name is None else name
    content = source if isinstance(source, bytes) else read_bytes(source)
    try:
        image: Image.Image = Image.open(BytesIO(content), formats=FORMATS)
        image.load()
    except UnidentifiedImageError as error:
        raise InputError(f"cannot read the image {name} (it is none of {', '.join(FORMATS)}): remove it") from error
    except Exception as error:  # of many kinds: decoders meet bytes that they were not written for
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read the image {name} ({reason}): repair or remove it") from error
    with suppress(Exception):  # also raised after turning, by other EXIF data
        ImageOps.exif_transpose(image, in_place=True)
    return image


def read_bytes(path: str | Path) -> bytes:
    """The bytes of an image file, which must be a regular one: of a pipe nothing might ever come.

    Raises:
        InputError: if they cannot be read.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(None, "it is no regular file")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str | Path, error: OSError) -> InputError:
    """The error for an image file of which the file system tells nothing."""
    return InputError(f"cannot read the image {path} ({error.strerror}): see to that, or remove it")
