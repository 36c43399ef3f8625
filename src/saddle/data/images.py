"""Where the pixels of a data set come from: arrays or image files, brought to one resolution."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from saddle.errors import InputError
from saddle.image_files import open_image, unreadable

_CHUNK = 256  # images that are decoded or resized at once, and one thread's share when a whole set is


class Images(ABC):
    """N images of one shape, read on demand. Can be pickled or forked into a worker process.

    Attributes:
        where: what an error message calls the files.
        channels: of the images as they are read.
        resolution: pixels of a side of the images as they are read.
        dtype: of the images as they are read: uint8 pixels, or floats that nothing may quantise.
    """

    dtype: torch.dtype = torch.uint8
    where: str
    channels: int
    resolution: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Tensor:
        """The images at `indices`: [n, channels, resolution, resolution] of `dtype`; uint8 from 0 to 255."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes when the images do."""

    @property
    def bytes(self) -> int:
        """Size of all images, as `read` returns them."""
        return len(self) * self.channels * self.resolution**2 * self.dtype.itemsize

    def read_all(self) -> Tensor:
        """All images, read by as many threads as there are cores."""
        starts = range(0, len(self), _CHUNK)
        everything = torch.empty((len(self), self.channels, self.resolution, self.resolution), dtype=self.dtype)
        with ThreadPool(min(len(os.sched_getaffinity(0)), len(starts))) as pool:  # leaving it ends what still runs
            chunks = pool.imap(lambda start: self.read(range(start, min(start + _CHUNK, len(self)))), starts)
            for start, images in zip(starts, chunks, strict=True):
                everything[start : start + len(images)] = images
        return everything


class ArrayImages(Images):
    """Images of an array, which may be a memory-mapped file.

    Args:
        array: [N, C, H, W] with H = W; uint8 pixels, or float32 of any size where H is `resolution`.
        resolution: the images are resized to it.
        where: what an error message calls the array's source.
        pad: black pixels added on every side before images are resized; none are where `resolution` is H already.
    """

    def __init__(self, array: np.ndarray, resolution: int, where: str, pad: int = 0):
        self.array, self.resolution, self.where = array, resolution, where
        self.channels, self.dtype = array.shape[1], torch.uint8 if array.dtype == np.uint8 else torch.float32
        self.pad = 0 if array.shape[-1] == resolution else pad

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: Sequence[int]) -> Tensor:
        images = torch.from_numpy(np.ascontiguousarray(self.array[np.asarray(indices)]))
        return resize(F.pad(images, [self.pad] * 4), self.resolution)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.array.shape} {self.resolution} {self.pad}".encode())
        for start in range(0, len(self), _CHUNK):
            digest.update(np.ascontiguousarray(self.array[start : start + _CHUNK]).data)
        return digest.hexdigest()


class FileImages(Images):
    """Image files, cropped to their centre square and resized.

    Args:
        files: their paths.
        resolution: pixels of a side.
        channels: 1 (grey) or 3 (RGB); files of the other kind are converted.
        where: what an error message calls the folder.

    Raises:
        InputError: for another number of channels.
    """

    def __init__(self, files: Sequence[str], resolution: int, channels: int, where: str):
        if channels not in (1, 3):
            raise InputError(f"data.channels={channels}: image files are read as 1 (grey) or 3 (RGB) channels")
        self.files = np.array(files)  # one buffer: a list's reference counts would unshare the memory of workers
        self.resolution, self.channels, self.where = resolution, channels, where

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> Tensor:
        files = (str(self.files[index]) for index in indices)
        return torch.stack([decode(file, file, self.resolution, self.channels) for file in files])

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.resolution} {self.channels}".encode())
        for file in self.files:
            try:
                stat = os.stat(file)
            except OSError as error:
                raise unreadable(file, error) from error
            digest.update(os.fsencode(f"{file} {stat.st_size} {stat.st_mtime_ns}\n"))
        return digest.hexdigest()


def resize(images: Tensor, resolution: int) -> Tensor:
    """Square uint8 images [N, C, H, H] resized to [N, C, resolution, resolution] by an antialiased bicubic filter."""
    if images.shape[-1] == resolution:
        return images
    # float32, because the integer kernel of torch rounds after each of the two axes
    chunks = (F.interpolate(x.float(), resolution, mode="bicubic", antialias=True) for x in images.split(_CHUNK))
    return torch.cat([chunk.round().clamp(0, 255).byte() for chunk in chunks])


def decode(source: str | bytes, name: str, resolution: int, channels: int) -> Tensor:
    """One image file, cropped to its centre square and resized (antialiased bicubic): uint8 [channels, res, res].

    It is turned upright where its EXIF data say so; transparent parts become white; 16-bit grey becomes 8-bit.

    Args:
        source: a path, or the bytes of a file.
        name: what an error message calls the image.
        resolution: pixels of a side.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        InputError: if it cannot be read.
    """
    image = _convert(open_image(source, name), channels)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = image.resize((resolution, resolution), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(square))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def _convert(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16-bit values at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")
