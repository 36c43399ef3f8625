"""Images between networks, arrays and files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] of any shape to uint8, rounded to the nearest of 0..255."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_data(x: Tensor, dtype: Any) -> Tensor:
    """What a network sees of data: uint8 pixels scaled to [-1, 1], a copy; floats (points of a toy set) as they are."""
    return x.to(dtype).div_(127.5).sub_(1) if x.dtype == torch.uint8 else x.to(dtype)


def to_data(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What a network drew, as data of `dtype` hold it: uint8 pixels, or floats (points of a toy set) as they are."""
    return to_uint8(x) if dtype == torch.uint8 else x.to(dtype)


def save_grid(images: Tensor, columns: int, path: Path) -> None:
    """Write images [N, C, H, W] in [-1, 1] as one PNG, `columns` a row, all at once or not at all."""
    grid = make_grid(to_uint8(images.cpu()), nrow=columns, padding=2, pad_value=255)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)  # a link would be followed
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(temporary, format="PNG")
    os.replace(temporary, path)
