"""LSUN, one category of scenes, straight from its LMDB."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddle.data.base import DataModule, Split
from saddle.data.files import first_with, reading
from saddle.data.images import Images, decode
from saddle.errors import InputError


class LSUN(DataModule):
    """A category of LSUN (Yu et al., arXiv:1506.03365), e.g. 3,033,042 bedrooms, without labels; needs lmdb.

    `<category>_train_lmdb` is looked for in data.path and its sub-folder `lsun`. Nothing is downloaded: bedroom alone
    has 43 GB.

    Args:
        category: bedroom, church_outdoor, ...
    """

    def __init__(self, *, category: str, **options: Any):
        super().__init__(**options)
        self.category = category

    def read(self) -> tuple[Split, Split | None]:
        names = [f"{self.category}_{part}_lmdb" for part in ("train", "val")]
        train, test = (first_with([self.path / "lsun" / name, self.path / name], ["data.mdb"]) for name in names)
        if train is None:
            raise InputError(
                f"data=lsun: no {names[0]} in {self.path / 'lsun'} or {self.path}: get and unpack "
                f"http://dl.yf.io/lsun/scenes/{names[0]}.zip, or set data.path"
            )
        images = LMDBImages(train, self.resolution, self.channels)
        return Split(images), None if test is None else Split(LMDBImages(test, self.resolution, self.channels))


class LMDBImages(Images):
    """The encoded images that are the values of an LMDB, in the order of its keys.

    Args:
        folder: of the database.
        resolution: pixels of a side.
        channels: 1 (grey) or 3 (RGB).
    """

    def __init__(self, folder: Path, resolution: int, channels: int):
        self.folder, self.resolution, self.channels, self.where = folder, resolution, channels, str(folder)
        with self._transaction() as transaction:
            keys = list(transaction.cursor().iternext(values=False))
        # one buffer: a list's reference counts would unshare the memory of workers
        self._keys = b"".join(keys)
        self._ends = np.cumsum([0, *map(len, keys)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def read(self, indices: Sequence[int]) -> Tensor:
        with self._transaction() as transaction:
            return torch.stack([self._image(transaction, index) for index in indices])

    def fingerprint(self) -> str:
        stat = os.stat(self.folder / "data.mdb")
        text = f"{self.folder} {stat.st_size} {stat.st_mtime_ns} {self.resolution} {self.channels}"
        return hashlib.sha256(os.fsencode(text)).hexdigest()

    def _image(self, transaction: Any, index: int) -> Tensor:
        key = self._keys[self._ends[index] : self._ends[index + 1]]
        return decode(transaction.get(key), f"{self.folder}/{key.hex()}", self.resolution, self.channels)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Reads from the database, open only inside: LMDB forbids using one in a process that is forked later."""
        try:
            import lmdb
        except ImportError as error:
            raise InputError("data=lsun needs lmdb: pip install 'saddle-gan[data]'") from error
        options: dict[str, Any] = dict(readonly=True, lock=False, readahead=False, meminit=False, max_readers=1)
        with (
            reading(self.folder / "data.mdb"),
            lmdb.open(str(self.folder), **options) as environment,
            environment.begin() as transaction,
        ):
            yield transaction
