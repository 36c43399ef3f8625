"""Where the images that are scored come from: a dataset, a model, an npz file or a folder."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddle.config.folders import EXTENSIONS, walk_images
from saddle.data.files import reading
from saddle.data.sets import ImageSet
from saddle.errors import InputError
from saddle.image_files import open_image, read_bytes
from saddle.images import to_data
from saddle.metrics.cache import digest
from saddle.metrics.features import check_images


class ImageSource(ABC):
    """N images that can be read in any order.

    Attributes:
        name: what an error message calls them.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images [n, C, H, W], uint8 pixels or floats of points, and labels int64 [n], null where they have none."""

    def fingerprint(self) -> str | None:
        """A hash of the content, where that is cheaper than scoring it."""
        return None


class SetSource(ImageSource):
    """A dataset."""

    def __init__(self, images: ImageSet, classes: int, name: str = "the training set"):
        self.images, self.classes, self.name = images, classes, name

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        images, labels = self.images.__getitems__(range(start, stop))
        return images, labels if self.classes else None

    def fingerprint(self) -> str | None:
        return self.images.fingerprint()


class ModelSource(ImageSource):
    """The samples number 0 to `count` of a model, drawn with `options`, as data of `dtype` hold them."""

    name = "the model's samples"

    def __init__(self, model: Any, count: int, dtype: torch.dtype = torch.uint8, **options: Any):
        self.model, self.count, self.dtype = model, count, dtype
        self.options = {"seed": 0, "ema": True, "truncation": None, **options}

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images and the labels they were asked for."""
        images, labels = self.model.sample(start, stop, **self.options)
        if not bool(images.isfinite().all()):
            raise InputError("the generator's images are not finite: the run has diverged")
        return to_data(images, self.dtype), labels if self.model.conditional else None


class ArraySource(ImageSource):
    """Images held in memory."""

    def __init__(self, images: Tensor, labels: Tensor | None, name: str):
        check_images(images, name)
        self.images, self.labels, self.name = images, labels, name

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        return self.images[start:stop], None if self.labels is None else self.labels[start:stop]

    def fingerprint(self) -> str | None:
        """A hash of the pixels."""
        pixels = hashlib.sha256(self.images.contiguous().numpy().data)
        return digest(tuple(self.images.shape), pixels.hexdigest())


class FolderSource(ImageSource):
    """The image files under a folder, turned upright, in the order of their paths."""

    def __init__(self, folder: Path):
        self.name = str(folder)
        self.files = sorted(walk_images(folder))
        if not self.files:
            raise InputError(f"{folder} holds no images ({', '.join(sorted(EXTENSIONS))})")
        first = _open(self.files[0])
        self.grey, self.shape = first.ndim == 2, first.shape[:2]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Images; grey if the first one is."""
        images = [self._read(file) for file in self.files[start:stop]]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), None

    def _read(self, file: str) -> np.ndarray:
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
            total.update(hashlib.sha256(read_bytes(path)).digest())
        return digest("folder of upright images", self.grey, self.shape, total.hexdigest())


def open_images(path: str | Path) -> ImageSource:
    """The images of an npz file (``images`` or ``arr_0``, uint8 [N, H, W, C]; ``labels`` if there) or of a folder."""
    path = Path(path).expanduser()
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}: check the path")
    with reading(path, "give an npz file of plain arrays"), np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name in ("images", "arr_0", "labels")}
        found = {name: torch.from_numpy(array) for name, array in arrays.items()}
    pixels, labels = found.get("images", found.get("arr_0")), found.get("labels")
    if pixels is None:
        raise InputError(f"{path} holds no array called images")
    if pixels.dim() == 3:
        pixels = pixels[..., None]
    if pixels.dim() != 4 or pixels.shape[3] not in (1, 3):
        shape = list(pixels.shape)
        raise InputError(f"{path} holds images of the shape {shape}: scores need [N, height, width, 1 or 3]")
    if labels is not None and (labels.shape != pixels.shape[:1] or arrays["labels"].dtype.kind not in "iu"):
        found_labels = f"{list(labels.shape)} of {arrays['labels'].dtype}"
        raise InputError(f"{path} holds labels {found_labels}: {len(pixels)} integers are needed")
    images = pixels.permute(0, 3, 1, 2).contiguous()
    return ArraySource(images, None if labels is None else labels.long(), str(path))


def _open(file: str) -> np.ndarray:
    image = open_image(file)
    return np.array(image.convert("L" if image.mode in ("1", "L", "LA", "I", "I;16", "F") else "RGB"))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
