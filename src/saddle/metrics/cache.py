"""Statistics of real images, kept on disk under a hash of everything they depend on.

A file holds named tensors and a checksum. It is written beside its place and moved there, so a reader never sees half
of it; one that is damaged is computed again, and a line says so.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saddle.data.files import made_whole


def cache_folder() -> Path:
    """``$SADDLE_CACHE``, or ``~/.cache/saddle``."""
    return Path(os.environ.get("SADDLE_CACHE") or "~/.cache/saddle").expanduser()


def digest(*parts: object) -> str:
    """A hash of the parts' texts, 32 hexadecimal digits."""
    return hashlib.blake2b("\0".join(str(part) for part in parts).encode(), digest_size=16).hexdigest()


class StatisticsCache:
    """Named tensors on disk by key.

    Args:
        folder: where the files are; null: ``statistics`` in `cache_folder`.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder) if folder is not None else cache_folder() / "statistics"

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.folder / f"{key}.safetensors"

    def read(self, key: str) -> dict[str, Tensor] | None:
        """The tensors written under `key`; None where there are none or the file is damaged."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                metadata = file.metadata() or {}
        except Exception:  # whatever safetensors raises
            tensors, metadata = {}, {}
        if metadata.get("key") != key or metadata.get("checksum") != _checksum(tensors):
            print(f"cached statistics {path} are damaged: computed again", file=sys.stderr)
            return None
        return tensors

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors. A folder that cannot be written costs a line and the next run's time, not this run."""
        path = self.path(key)
        kept = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
        try:
            with made_whole(path) as partial:
                save_file(kept, partial, metadata={"key": key, "checksum": _checksum(kept)})
        except (OSError, SafetensorError) as error:
            print(f"statistics are not cached in {path.parent}: {error}", file=sys.stderr)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        x = tensors[name]
        total.update(f"{name}{tuple(x.shape)}{x.dtype}".encode())
        total.update(x.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
