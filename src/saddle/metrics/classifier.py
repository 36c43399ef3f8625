"""The small classifier whose features and class probabilities score generated images without any download.

It is trained once on the real labelled images of a dataset (`python -m saddle.metrics.train_classifier data=NAME`).
Its penultimate layer takes the place of Inception's in the Frechet distance, its probabilities that in the
classifier score. Scores on it are comparable with each other, not with published FIDs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from saddle.data.files import made_whole, reading
from saddle.errors import InputError
from saddle.images import to_uint8
from saddle.metrics.files import read_weights
from saddle.randomness import generator

WEIGHTS = Path(__file__).parent / "weights"  # those of the package
RESOLUTION = 32
FEATURES = 128


class Classifier(nn.Module):
    """Four convolutions and a hidden layer for 32x32 images: about 330,000 parameters, 8 million multiplications.

    Args:
        channels: 1 (grey) or 3 (colour).
        classes: number of classes.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.channels, self.classes = channels, classes
        self.trunk = nn.Sequential(
            *_convolution(channels, 32, kernel=5, stride=2),
            *_convolution(32, 48),
            nn.MaxPool2d(2),
            *_convolution(48, 96),
            *_convolution(96, 96, stride=2),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(96 * 16, FEATURES)
        self.drop = nn.Dropout(0.3)
        self.output = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, 128] (not negative) and logits [N, classes] of float images [N, channels, 32, 32] in [-1, 1]."""
        images = images.contiguous(memory_format=torch.channels_last)
        features = F.relu(self.hidden(self.trunk(images)))
        return features, self.output(self.drop(features))


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    yield nn.BatchNorm2d(outputs)
    yield nn.ReLU(inplace=True)


def prepare_images(images: Tensor, channels: int) -> Tensor:
    """What the classifier sees of uint8 images [N, C, H, W]: float [N, channels, 32, 32] in [-1, 1].

    Other resolutions are resized with antialiasing; colour becomes grey by its luma, grey is repeated.
    """
    x = images.float()
    if x.shape[1] != channels:
        luma = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)
        x = (x * luma).sum(1, keepdim=True) if channels == 1 else x.expand(-1, channels, -1, -1)
    if x.shape[-2:] != (RESOLUTION, RESOLUTION):
        x = F.interpolate(x, (RESOLUTION, RESOLUTION), mode="bilinear", antialias=True, align_corners=False)
    return x / 127.5 - 1


def shrink_images(images: Tensor) -> Tensor:
    """uint8 images [N, C, H, W] at the classifier's resolution, rounded: uint8 [N, C, 32, 32]."""
    return to_uint8(prepare_images(images, images.shape[1]))


def train(
    images: Tensor,
    labels: Tensor,
    classes: int,
    *,
    steps: int = 3600,
    batch: int = 128,
    flip: bool = False,
    shift: int = 1,
    seed: int = 0,
) -> Classifier:
    """A classifier trained on real images, in eval mode.

    AdamW with a one-cycle schedule, in bfloat16 where the hardware multiplies it fast. Images are shifted a little
    and some are partly erased, so that the features generalise to images that no one has seen; the weights of the last
    fifth of the steps are averaged.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N] in [0, classes).
        classes: number of classes.
        steps: optimiser steps.
        batch: images per step.
        flip: whether a mirrored image keeps its meaning (not so for digits).
        shift: images are moved by up to this many pixels, 0 to 4; more for small sets, which are seen more often.
        seed: of initialisation, order and augmentation.
    """
    device = images.device
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    draws = generator(seed, "classifier")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(images.shape[1], classes).to(device).to(memory_format=torch.channels_last)
        average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.2)
        order = _endless_order(len(images), min(batch, len(images)), draws)
        for step in range(steps):
            rows = next(order).to(device)
            x = _augment(prepare_images(images[rows], images.shape[1]), flip, shift, draws)
            with torch.autocast(device.type, torch.bfloat16, enabled=fast, cache_enabled=False):
                logits = model(x)[1]
            loss = F.cross_entropy(logits.float(), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step >= steps - max(1, steps // 5):
                average.update_parameters(model)
    trained = average.module.eval()
    assert isinstance(trained, Classifier)
    return trained


def _endless_order(n: int, batch: int, draws: torch.Generator) -> Iterator[Tensor]:
    while True:
        order = torch.randperm(n, generator=draws)
        yield from (order[i : i + batch] for i in range(0, n - batch + 1, batch))


def _augment(x: Tensor, flip: bool, most: int, draws: torch.Generator) -> Tensor:
    n, size = len(x), x.shape[-1]
    shift = torch.randint(-most, most + 1, (2, n, 1), generator=draws).to(x.device)
    columns = torch.arange(size, device=x.device) + shift[0]
    if flip:
        mirrored = (torch.rand(n, 1, generator=draws) < 0.5).to(x.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    lines = torch.arange(size, device=x.device) + shift[1]
    padded = F.pad(x, (4, 4, 4, 4), value=-1.0)
    image = torch.arange(n, device=x.device)[:, None, None]
    x = padded[image, :, lines[:, :, None] + 4, columns[:, None, :] + 4]  # [N, H, W, C]
    corner = torch.randint(0, size, (2, n, 1), generator=draws).to(x.device)
    side = (torch.randint(0, 10, (n, 1), generator=draws) * (torch.rand(n, 1, generator=draws) < 0.25)).to(x.device)
    pixels = torch.arange(size, device=x.device)
    inside = [(pixels >= c) & (pixels < c + side) for c in corner]
    erased = inside[0][:, :, None] & inside[1][:, None, :]
    return x.masked_fill(erased[..., None], -1.0).permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(model: Classifier, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """Share of uint8 images [N, C, H, W] whose most probable class is their label."""
    right = 0
    for start in range(0, len(images), batch):
        logits = model(prepare_images(images[start : start + batch], model.channels))[1]
        right += int((logits.argmax(1) == labels[start : start + batch]).sum())
    return right / len(images)


def save(model: Classifier, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights in half precision."""
    tensors = {
        name: (x.half() if x.is_floating_point() else x).contiguous().cpu() for name, x in model.state_dict().items()
    }
    shape = {"channels": str(model.channels), "classes": str(model.classes)}
    with made_whole(path) as partial:
        save_file(tensors, partial, metadata={**metadata, **shape})


def read_metadata(path: Path) -> dict[str, str]:
    """What `save` was told, with `channels` and `classes`; InputError for a file that is damaged or something else."""
    with reading(path, "delete it to train anew"), safe_open(path, "pt") as file:
        metadata = dict(file.metadata() or {})
        if not all(metadata.get(name, "").isdecimal() for name in ("channels", "classes")):
            raise InputError(f"{path} is not a classifier of this repository: its metadata lacks channels and classes")
        return metadata


def load(path: Path) -> Classifier:
    """The classifier that `save` wrote, float32, in eval mode."""
    metadata = read_metadata(path)
    model = Classifier(int(metadata["channels"]), int(metadata["classes"]))
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise InputError(f"classifier weights {path} do not fit its network; delete the file to train anew") from error
    return model.eval()
