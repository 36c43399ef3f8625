"""Files of weights: found or downloaded, hashed, and read without running anything that is in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor

from saddle.data.files import damaged, reading
from saddle.errors import InputError

REMEDY = "name another file, or delete it"  # for weights that are damaged, or something else


class WeightsFile:
    """A file of weights: one that the user names, or one in torch hub's folder, downloaded there on first use.

    Args:
        given: the user's file; null: torch hub's.
        url: where torch hub's comes from.
        what: whose weights they are, for error messages.
        instead: what an error proposes where they cannot be downloaded.
        hash_prefix: the first digits of the sha256 of what is downloaded; null: it is not checked.

    Attributes:
        path: where it is, or will be.

    Raises:
        InputError: if there is no file `given`.
    """

    def __init__(self, given: str | None, url: str, what: str, instead: str, hash_prefix: str | None = None):
        hub = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        self.path = Path(given).expanduser() if given else hub
        self.url, self.instead, self.hash_prefix = url, instead, hash_prefix
        if given and not self.path.is_file():
            raise InputError(f"there are no {what} weights {self.path}: check the path")

    def fetch(self) -> None:
        """Download the file unless it is there; InputError where that fails, which says which file to put where."""
        if self.path.is_file():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self.path), hash_prefix=self.hash_prefix, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"the weights could not be downloaded ({error}): put {self.url} at {self.path}, "
                f"or choose {self.instead}"
            ) from error

    def hash(self) -> str:
        """sha256 of the file, downloaded if it is not there."""
        self.fetch()
        return file_hash(self.path)

    def read(self) -> dict[str, Tensor]:
        """`read_weights` of the file, downloaded if it is not there."""
        self.fetch()
        return read_weights(self.path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file that holds nothing but tensors.

    Wrappings that training codes add are taken away: a dictionary under ``state_dict`` or ``model``, and a prefix
    ``module.``.

    Raises:
        InputError: if the file cannot be read, holds something else, or a tensor that is not finite.
    """
    with reading(path, REMEDY):
        loaded: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    for wrapping in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapping), Mapping):
            loaded = loaded[wrapping]
    if not isinstance(loaded, Mapping) or not all(isinstance(x, Tensor) for x in loaded.values()):
        raise damaged(path, "no dictionary of tensors", REMEDY)
    if not all(bool(x.isfinite().all()) for x in loaded.values() if x.is_floating_point()):
        raise InputError(f"the weights {path} are not finite: delete the file")
    return {str(name).removeprefix("module."): x for name, x in loaded.items()}


_hashes: dict[tuple[str, int, int], str] = {}


def file_hash(path: Path) -> str:
    """sha256 of a file, computed once for a given size and time of change."""
    stat = os.stat(path)
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        with open(path, "rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]
