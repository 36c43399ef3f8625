"""What turns images into features and class logits: the repository's own classifiers, and Inception.

An extractor is an nn.Module with `name`, `features`, `classes`, `fingerprint`, and `forward(uint8 images)`. It knows
its sizes without loading its weights; these are loaded at the first image.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torch.nn.utils import fusion

from saddle.errors import InputError
from saddle.metrics import classifier as own
from saddle.metrics.cache import cache_folder, digest

if TYPE_CHECKING:
    from saddle.data.base import DataModule

WEIGHTS = Path(__file__).parent / "weights"
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"


@dataclass(frozen=True)
class FeatureOutputs:
    """What an extractor sees in N images: features [N, F] and class logits [N, C], both float32."""

    features: Tensor
    logits: Tensor


def check_images(images: Tensor, name: str = "images") -> None:
    """InputError unless `images` is uint8 [N, C, H, W] with one or three channels."""
    if images.dtype != torch.uint8:
        found = "NaN" if images.is_floating_point() and bool(images.isnan().any()) else str(images.dtype)
        raise InputError(f"{name} hold {found.removeprefix('torch.')}: scores need uint8 pixels from 0 to 255")
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"{name} have the shape {list(images.shape)}: scores need [N, 1 or 3, height, width]")


class FeatureExtractor(nn.Module, ABC):
    """Base of the extractors.

    Attributes:
        name: what a report calls it.
        features: F, the length of a feature vector.
        classes: C, the number of classes.
    """

    name: str
    features: int
    classes: int

    def __init__(self) -> None:
        super().__init__()
        self._network: nn.Module | None = None

    @property
    @abstractmethod
    def key(self) -> str:
        """What it was made from: two extractors with the same key are interchangeable. Needs no weights."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the weights and of all that changes the outputs; equal for equal extractors."""

    @abstractmethod
    def load(self) -> nn.Module:
        """The network with its weights, in eval mode on the CPU; InputError if they cannot be had."""

    @abstractmethod
    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """The outputs for images that passed the checks."""

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Get what the weights need, once per machine: download them, or train them on the data."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> FeatureOutputs:
        """Features and logits of uint8 images [N, C, H, W]."""
        check_images(images)
        if self._network is None:
            self._network = self.load().requires_grad_(False)
        self._network.to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            return self.extract(self._network, images)


class ClassifierExtractor(FeatureExtractor):
    """A classifier of the repository: committed for some data, trained on first use for other labelled data.

    Args:
        name: of the classifier, which is that of its data; null is refused, as the data has none.
        classes: number of classes, needed where the classifier is not trained yet.
    """

    features = own.FEATURES

    def __init__(self, name: str | None, classes: int | None = None):
        super().__init__()
        if not name:
            raise InputError(
                "this data has no classifier (data.classifier is null): choose metrics=fid, metrics=none, "
                "or name one, e.g. data.classifier=fashion_mnist"
            )
        if "/" in name or "=" in name:
            raise InputError(f"data.classifier={name}: a classifier's name is not a path")
        self.name = name
        if self.path.is_file():
            self.classes = int(own.read_metadata(self.path)["classes"])
        elif classes and classes > 1:
            self.classes = classes
        else:
            known = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors")))
            raise InputError(f"there is no classifier {name} (there are: {known}), and no labels to train one on")

    @property
    def path(self) -> Path:
        """The weights: those of the package, else those in the cache folder."""
        committed = WEIGHTS / f"{self.name}.safetensors"
        return committed if committed.is_file() else cache_folder() / "classifiers" / f"{self.name}.safetensors"

    @property
    def key(self) -> str:
        """Its name."""
        return f"classifier {self.name}"

    @property
    def fingerprint(self) -> str:
        """A hash of the weights file."""
        return digest("classifier", _file_hash(self._existing()))

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Train the classifier on the data's real labelled images, where there is none yet."""
        if self.path.is_file() or datamodule is None:
            return
        from saddle.metrics.train_classifier import fit

        print(f"there is no classifier of {self.name} yet: training one, once", flush=True)
        fit(datamodule, self.name, self.path)

    def load(self) -> nn.Module:
        """The classifier; its batch norms are folded into the convolutions before them."""
        network = own.load(self._existing())
        if network.classes != self.classes:
            raise InputError(
                f"classifier {self.path} has {network.classes} classes, the data {self.classes}: delete it"
            )
        layers = list(network.trunk)
        for i, layer in enumerate(layers):
            convolution = layers[i - 1]
            if isinstance(layer, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d):
                layers[i - 1] = fusion.fuse_conv_bn_eval(convolution, layer)
        network.trunk = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.BatchNorm2d)))
        return network.to(memory_format=torch.channels_last)

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """The hidden layer and the logits."""
        assert isinstance(network, own.Classifier)
        return FeatureOutputs(*network(own.prepare_images(images, network.channels)))

    def _existing(self) -> Path:
        if not self.path.is_file():
            raise InputError(
                f"the classifier {self.name} is not trained yet: "
                f"run python -m saddle.metrics.train_classifier data={self.name}"
            )
        return self.path


class InceptionExtractor(FeatureExtractor):
    """Inception-v3 of 2015-12-05 as FID and IS are defined on it, with torch-fidelity's weights and resizing.

    Features are the 2048 of the last pooling; logits are those without the bias.

    Args:
        weights: a file in torch-fidelity's format; null: torch hub's folder, downloaded there on first use.
    """

    name = "inception"
    features = 2048
    classes = 1008

    def __init__(self, weights: str | None = None):
        super().__init__()
        self.given = Path(weights).expanduser() if weights else None
        if self.given and not self.given.is_file():
            raise InputError(f"there are no Inception weights {self.given}: check the path")

    @property
    def path(self) -> Path:
        """The weights file."""
        return self.given or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION

    @property
    def key(self) -> str:
        """The weights file."""
        return f"inception {self.path}"

    @property
    def fingerprint(self) -> str:
        """A hash of the weights file and of the resizer's name."""
        self.prepare()
        return digest("inception", "tensorflow-bilinear", _file_hash(self.path))

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Download the weights if they are not there."""
        if self.path.is_file():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(INCEPTION_URL, str(self.path), hash_prefix="6726825d", progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"the Inception weights could not be downloaded ({error}): put {INCEPTION_URL} at {self.path}, "
                "or choose metrics=frechet"
            ) from error

    def load(self) -> nn.Module:
        """torch-fidelity's network."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.prepare()
        damaged = InputError(f"the Inception weights {self.path} are damaged or of another format: delete the file")
        try:
            # torch-fidelity unpickles whatever the file holds; a file that passes here holds nothing but tensors
            torch.load(self.path, map_location="cpu", weights_only=True)
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(self.path)
            )
        except Exception as error:  # whatever a damaged pickle, archive or dictionary raises
            raise damaged from error
        return network.to(memory_format=torch.channels_last)

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """Pooled features and logits without bias; grey images are repeated to three channels."""
        return FeatureOutputs(*network(images.expand(-1, 3, -1, -1)))


_hashes: dict[tuple[str, int, int], str] = {}


def _file_hash(path: Path) -> str:
    """sha256 of a file, computed once for a given size and time of change."""
    stat = os.stat(path)
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        with open(path, "rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]
