"""Where the images that are scored come from: a dataset, a model, an npz file or a folder."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from saddle.data.sets import ImageSet
from saddle.errors import InputError
from saddle.images import to_data
from saddle.metrics.cache import digest
from saddle.metrics.features import check_images

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class ImageSource(Protocol):
    """N images that can be read in any order.

    Attributes:
        name: what an error message calls them.
    """

    name: str

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images [n, C, H, W], uint8 pixels or floats of points, and labels int64 [n], null where they have none."""
        ...

    def fingerprint(self) -> str | None:
        """A hash of the content, if that is cheaper than scoring it."""
        ...


class SetSource:
    """A dataset."""

    def __init__(self, images: ImageSet, classes: int, name: str = "the training set"):
        self.images, self.classes, self.name = images, classes, name

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images and labels."""
        images, labels = self.images.__getitems__(range(start, stop))
        return images, labels if self.classes else None

    def fingerprint(self) -> str | None:
        """That of the set."""
        return self.images.fingerprint()


class ModelSource:
    """The samples number 0 to `count` of a model, as data of `dtype` hold them."""

    name = "the model's samples"

    def __init__(
        self,
        model: Any,
        count: int,
        seed: int = 0,
        ema: bool = True,
        truncation: float | None = None,
        dtype: torch.dtype = torch.uint8,
    ):
        self.model, self.count, self.dtype = model, count, dtype
        self.options: dict[str, Any] = {"seed": seed, "ema": ema, "truncation": truncation}

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images and the labels they were asked for."""
        images, labels = self.model.sample(start, stop, **self.options)
        if not bool(images.isfinite().all()):
            raise InputError("the generator's images are not finite: the run has diverged")
        return to_data(images, self.dtype), labels if self.model.conditional else None

    def fingerprint(self) -> str | None:
        """None: samples are always scored."""
        return None


class ArraySource:
    """Images held in memory."""

    def __init__(self, images: Tensor, labels: Tensor | None, name: str):
        check_images(images, name)
        self.images, self.labels, self.name = images, labels, name

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images and labels."""
        return self.images[start:stop], None if self.labels is None else self.labels[start:stop]

    def fingerprint(self) -> str | None:
        """A hash of the pixels."""
        return digest(tuple(self.images.shape), _hash(self.images))


class FolderSource:
    """The image files under a folder, in the order of their paths."""

    def __init__(self, folder: Path):
        self.name = str(folder)
        self.files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not self.files:
            raise InputError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
        first = _open(self.files[0])
        self.grey, self.shape = first.ndim == 2, first.shape[:2]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images; grey if the first one is."""
        images = [self._read(file) for file in self.files[start:stop]]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), None

    def _read(self, file: Path) -> np.ndarray:
        pixels = _open(file)
        if pixels.shape[:2] != self.shape:
            raise InputError(
                f"{file} has {_size(pixels.shape)} pixels, {self.files[0]} {_size(self.shape)}: resize them"
            )
        if self.grey != (pixels.ndim == 2):
            raise InputError(f"{file} is {'colour' if self.grey else 'grey'}, {self.files[0]} is not: convert them")
        return pixels[..., None] if self.grey else pixels

    def fingerprint(self) -> str | None:
        """A hash of the files, undecoded, in their order."""
        total = hashlib.sha256()
        for path in self.files:
            with open(path, "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return digest("folder", self.grey, self.shape, total.hexdigest())


def open_images(path: str | Path) -> ImageSource:
    """The images of an npz file (``images`` or ``arr_0``, uint8 [N, H, W, C]; ``labels`` if there) or of a folder."""
    path = Path(path).expanduser()
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}: check the path")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in ("images", "arr_0", "labels")}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable npz file of plain arrays: {error}") from error
    pixels = arrays["images"] if "images" in arrays else arrays.get("arr_0")
    if pixels is None:
        raise InputError(f"{path} holds no array called images")
    return ArraySource(_from_nhwc(pixels, path), _labels(arrays.get("labels"), len(pixels), path), str(path))


def _from_nhwc(pixels: np.ndarray, path: Path) -> Tensor:
    if pixels.dtype != np.uint8:
        bad = pixels.dtype.kind == "f" and bool(np.isnan(pixels).any())
        raise InputError(f"{path} holds {'NaN' if bad else pixels.dtype} pixels: scores need uint8 from 0 to 255")
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise InputError(
            f"{path} holds images of the shape {list(pixels.shape)}: scores need [N, height, width, 1 or 3]"
        )
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _labels(labels: np.ndarray | None, n: int, path: Path) -> Tensor | None:
    if labels is None:
        return None
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise InputError(f"{path} holds labels {list(labels.shape)} of {labels.dtype}: {n} integers are needed")
    return torch.from_numpy(labels.astype(np.int64))


def _open(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as image:
            return np.array(image.convert("L" if image.mode in ("1", "L", "LA", "I", "I;16", "F") else "RGB"))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise InputError(f"{file} is not a readable image: remove or repair it") from error


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _hash(images: Tensor) -> str:
    return hashlib.sha256(images.contiguous().numpy().data).hexdigest()
