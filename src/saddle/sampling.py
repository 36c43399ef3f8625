"""Images of a trained run, written to an npz file or a folder of PNGs; points of a mixture to an npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image

from saddle.data.files import made_whole
from saddle.errors import InputError
from saddle.images import to_data
from saddle.models.base import GAN
from saddle.run.build import load_run
from saddle.run.target import check_target, check_writable

MARK = b"samples of saddle"  # what tells them from a data set, which is not replaced
Batches = Iterator[tuple[np.ndarray, np.ndarray]]


def sample_run(cfg: DictConfig) -> Path:
    """What the command `sample` does; the options are those of conf/sample.yaml. Returns what was written."""
    out = Path(str(cfg.out)).expanduser()
    check_out(out)
    run, model = load_run(cfg.run, weights=cfg.weights, trust=cfg.trust)
    dtype = torch.uint8 if run.data.get("bounded", True) else torch.float32
    if dtype != torch.uint8 and out.suffix != ".npz":
        raise InputError(f"out={out}: this run generates points, which are no pictures; give FILE.npz")
    options = dict(seed=cfg.seed, labels=check_class(model, cfg["class"]), ema=cfg.ema, truncation=cfg.truncation)
    batches = samples(model, cfg.n, cfg.batch, options, dtype)
    write = write_npz if out.suffix == ".npz" else write_folder
    write(out, batches, cfg.n, model.conditional)
    print(f"{cfg.n} images: {out}")
    return out


def check_class(model: GAN, label: int | None) -> int | None:
    """The requested class; InputError if the model has none, or not that one."""
    if label is None:
        return None
    if not model.conditional:
        raise InputError(f"class={label}: this model is not conditional, so no class can be asked for")
    if not 0 <= label < model.prior.classes:
        raise InputError(f"class={label}: the classes of this run are 0 to {model.prior.classes - 1}")
    return label


def check_out(out: Path) -> None:
    """InputError for a target that cannot be written: a folder that holds files, or a path with another suffix."""
    if out.suffix == ".npz":
        check_target(out, written_here)
        return
    check_writable(out)
    if out.is_file() or (out.suffix and not out.is_dir()):
        raise InputError(f"out={out}: give FILE.npz or a folder")
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"out={out} is not empty: name a new folder")


def written_here(path: Path) -> bool:
    """Whether a file was written by `write_npz`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == MARK
    except (OSError, zipfile.BadZipFile):
        return False


@torch.no_grad()
def samples(model: GAN, n: int, batch: int, options: dict[str, Any], dtype: torch.dtype = torch.uint8) -> Batches:
    """Batches of the first n samples: [b, H, W, C], uint8 pixels or the floats of points, and int64 [b]."""
    for start in range(0, n, batch):
        images, labels = model.sample(start, min(start + batch, n), **options)
        if not bool(images.isfinite().all()):
            raise InputError("the generator's images are not finite: the run has diverged")
        yield to_data(images, dtype).permute(0, 2, 3, 1).contiguous().cpu().numpy(), labels.cpu().numpy()


def write_npz(out: Path, batches: Batches, n: int, conditional: bool) -> None:
    """Write `images` [n, H, W, C] in their own type and, for a conditional model, `labels` int64 [n], batch by batch.

    The file appears under its name when it is complete.
    """
    labels = []
    with made_whole(out) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.comment = MARK
        with archive.open("images.npy", "w", force_zip64=True) as file:
            for i, (images, y) in enumerate(batches):
                if i == 0:
                    header = {"descr": images.dtype.str, "fortran_order": False, "shape": (n, *images.shape[1:])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(images.tobytes())
                labels.append(y)
        if conditional:
            with archive.open("labels.npy", "w") as file:
                np.lib.format.write_array(file, np.concatenate(labels).astype(np.int64))


def write_folder(out: Path, batches: Batches, n: int, conditional: bool) -> None:
    """Write 000000.png, 000001.png, ... and, for a conditional model, labels.csv (file, label).

    The folder appears under its name when it is complete.
    """
    digits = max(6, len(str(n - 1)))
    lines = ["file,label"]
    with made_whole(out) as partial:
        partial.mkdir()
        for images, labels in batches:
            for pixels, label in zip(images, labels, strict=True):
                name = f"{len(lines) - 1:0{digits}d}.png"
                Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(partial / name)
                lines.append(f"{name},{label}")
        if conditional:
            (partial / "labels.csv").write_text("\n".join(lines) + "\n")
