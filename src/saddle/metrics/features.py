"""What turns images into features and class logits: the repository's own classifiers, and Inception.

An extractor is an nn.Module with `name`, `features`, `classes`, `fingerprint`, and `forward(uint8 images)`. It knows
its sizes without loading its weights; these are loaded at the first image. Other backbones are in
saddle.metrics.backbones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fusion

from saddle.data.base import DataModule
from saddle.data.files import reading
from saddle.distributed import rank
from saddle.errors import InputError
from saddle.metrics import classifier
from saddle.metrics.cache import cache_folder, digest
from saddle.metrics.files import REMEDY, WeightsFile, file_hash
from saddle.metrics.resizers import RESIZERS
from saddle.metrics.train_classifier import fit

RELEASES = "https://github.com/toshas/torch-fidelity/releases/download"
INCEPTION_URL = f"{RELEASES}/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
PER_THREAD = 4  # images that Inception sees at a time for each thread: with more, the CPU's caches overflow


@dataclass(frozen=True)
class FeatureOutputs:
    """What an extractor sees in N images: features [N, F] and class logits [N, C], both float32."""

    features: Tensor
    logits: Tensor


def check_images(images: Tensor, name: str = "images") -> None:
    """InputError unless `images` is uint8 [N, C, H, W] with one or three channels."""
    if images.dtype != torch.uint8:
        found = "NaN" if images.is_floating_point() and bool(images.isnan().any()) else str(images.dtype)
        raise InputError(f"{name}: {found.removeprefix('torch.')} pixels; scores need uint8 from 0 to 255")
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"{name}: the shape is {list(images.shape)}; scores need [N, 1 or 3, height, width]")


class FeatureExtractor(nn.Module, ABC):
    """Base of the extractors.

    Args:
        bf16: compute in bfloat16, which is several times as fast where the hardware multiplies it. The deviation of the
            features from those in float32 is measured on the first images and printed.

    Attributes:
        name: what a report calls it.
        features: F, the length of a feature vector.
        classes: C, the number of classes.
        file: of its weights, where they are downloaded as one.
        precision: in which the network computes: "float32" or "bfloat16".
        made_from: what tells it from others beside its precision; files by their paths.
        deviation: of the features in bfloat16: |difference| / |features| in the Euclidean norm over the first images;
            null before these, and in float32.
    """

    name: str
    features: int
    classes: int
    made_from: tuple[object, ...]
    file: WeightsFile | None = None

    def __init__(self, bf16: bool = False) -> None:
        super().__init__()
        self.bf16, self.precision = bf16, "bfloat16" if bf16 else "float32"
        self.deviation: float | None = None
        self._network: nn.Module | None = None

    @property
    def key(self) -> str:
        """What it was made from: two extractors with the same key are interchangeable. Needs no weights."""
        return " ".join(str(part) for part in (*self.made_from, self.precision))

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the weights and of all that changes the outputs; equal for equal extractors."""

    @abstractmethod
    def load(self) -> nn.Module:
        """The network with its weights, in eval mode on the CPU; InputError if they cannot be had."""

    @abstractmethod
    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """The outputs for images that passed the checks: uint8, or float with the same range; see `dtype_of`."""

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Get what the weights need, once per machine: download their file, or train them on the data."""
        if self.file is not None:
            self.file.fetch()

    def describe(self) -> dict[str, str]:
        """What a reader must know to compare a score made with it: fingerprint, precision, and `origin`."""
        deviation = {} if self.deviation is None else {"deviation": f"{self.deviation:.2e}"}
        return {"fingerprint": self.fingerprint, "precision": self.precision, **deviation, **self.origin()}

    def origin(self) -> dict[str, str]:
        """What more there is to say: the hash of its weights (``weights``), the way of resizing (``resizer``)."""
        return {}

    @torch.no_grad()
    def forward(self, images: Tensor) -> FeatureOutputs:
        """Features and logits of uint8 images [N, C, H, W]."""
        check_images(images)
        return self.outputs(images)

    @torch.no_grad()
    def outputs(self, images: Tensor) -> FeatureOutputs:
        """Features and logits of images [N, C, H, W] from 0 to 255, floats that nothing has rounded among them.

        Raises:
            InputError: if they are not finite.
        """
        if self._network is None:
            self._network = self._first(images)
        self._network.to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            found = self.extract(self._network, images)
        if not all(bool(x.isfinite().all()) for x in (found.features, found.logits)):
            raise InputError(f"{self.name} gives features that are not finite: its weights are broken; choose others")
        return found

    def _first(self, images: Tensor) -> nn.Module:
        """The network in its precision; of bfloat16 the deviation is measured."""
        network = self.load().requires_grad_(False)
        if not self.bf16:
            return network
        exact = self.extract(network.to(images.device), images).features
        network = network.to(torch.bfloat16)
        self.deviation = float((self.extract(network, images).features - exact).norm() / exact.norm())
        if rank() == 0:
            where = f"features deviate by {self.deviation:.2%} from float32 on the first {len(images)} images"
            print(f"{self.name} in bfloat16: {where}", flush=True)
        return network


class Pixels(FeatureExtractor):
    """No network: the features are the images themselves, uint8 [N, C, H, W], and there are no logits."""

    name = key = fingerprint = "pixels"
    features = classes = 0

    def load(self) -> nn.Module:
        return nn.Identity()

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        return FeatureOutputs(images, images.new_zeros(len(images), 0))


class ClassifierExtractor(FeatureExtractor):
    """A classifier of the repository: committed for some data, trained on first use for other labelled data.

    Args:
        name: of the classifier, which is that of its data; null is refused, as the data has none.
        classes: number of classes, needed where the classifier is not trained yet.
        bf16: compute in bfloat16.
    """

    features = classifier.FEATURES

    def __init__(self, name: str | None, classes: int | None = None, bf16: bool = False):
        super().__init__(bf16)
        if not name:
            raise InputError(
                "this data has no classifier (data.classifier is null): choose metrics=fid, metrics=none, "
                "or name one, e.g. data.classifier=fashion_mnist"
            )
        if "/" in name or "=" in name:
            raise InputError(f"data.classifier={name}: a classifier's name is not a path")
        self.name, self.made_from = name, ("classifier", name)
        if self.path.is_file():
            self.classes = int(classifier.read_metadata(self.path)["classes"])
        elif classes and classes > 1:
            self.classes = classes
        else:
            known = ", ".join(sorted(file.stem for file in classifier.WEIGHTS.glob("*.safetensors")))
            raise InputError(f"there is no classifier {name} (there are: {known}), and no labels to train one on")

    @property
    def path(self) -> Path:
        """The weights: those of the package, else those in the cache folder."""
        committed = classifier.WEIGHTS / f"{self.name}.safetensors"
        return committed if committed.is_file() else cache_folder() / "classifiers" / f"{self.name}.safetensors"

    @property
    def fingerprint(self) -> str:
        """A hash of the weights file and of the precision."""
        return digest("classifier", file_hash(self._existing()), *(["bfloat16"] if self.bf16 else []))

    def origin(self) -> dict[str, str]:
        return {"weights": file_hash(self._existing())}

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Train the classifier on the data's real labelled images, where there is none yet."""
        if self.path.is_file() or datamodule is None:
            return
        print(f"there is no classifier of {self.name} yet: training one, once", flush=True)
        fit(datamodule, self.name, self.path)

    def load(self) -> nn.Module:
        """The classifier; its batch norms are folded into the convolutions before them."""
        network = classifier.load(self._existing())
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
        assert isinstance(network, classifier.Classifier)
        seen = classifier.prepare_images(images, network.channels).to(dtype_of(network))
        return FeatureOutputs(*(x.float() for x in network(seen)))

    def _existing(self) -> Path:
        if not self.path.is_file():
            raise InputError(
                f"the classifier {self.name} is not trained yet: "
                f"run python -m saddle.metrics.train_classifier data={self.name}"
            )
        return self.path


class InceptionExtractor(FeatureExtractor):
    """Inception-v3 of 2015-12-05 as FID and IS are defined on it, with the weights of torch-fidelity.

    Features are the 2048 of the last pooling; logits are those without the bias. With the legacy resizer the outputs
    are torch-fidelity's; batch norm is folded into the convolutions.

    Args:
        weights: a file in torch-fidelity's format; null: torch hub's folder, downloaded there on first use.
        resizer: how images become 299 x 299 pixels, a name in `saddle.metrics.resizers`: legacy or clean.
        bf16: compute in bfloat16.
    """

    name = "inception"
    features = 2048
    classes = 1008
    file: WeightsFile

    def __init__(self, weights: str | None = None, resizer: str = "legacy", bf16: bool = False):
        super().__init__(bf16)
        self.file = WeightsFile(weights, INCEPTION_URL, "Inception", instead="metrics=frechet", hash_prefix="6726825d")
        if resizer not in RESIZERS:
            raise InputError(f"resizer={resizer}: choose one of {', '.join(RESIZERS)}")
        self.resizer, self.made_from = resizer, ("inception", self.file.path, resizer)

    @property
    def fingerprint(self) -> str:
        """A hash of the weights file, of the resizer's name and of the precision."""
        return digest("inception", self.resizer, self.file.hash(), *(["bfloat16"] if self.bf16 else []))

    def origin(self) -> dict[str, str]:
        return {"weights": self.file.hash(), "resizer": self.resizer}

    def load(self) -> nn.Module:
        """torch-fidelity's network, without batch norms."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.file.read()  # refuses whatever is no tensor, which torch-fidelity would unpickle, and what is not finite
        path = str(self.file.path)
        with reading(self.file.path, REMEDY):  # a dictionary of other tensors
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=path
            )
        return Inception(network).to(memory_format=torch.channels_last)

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """Pooled features and logits without bias; grey images are repeated to three channels."""
        assert isinstance(network, Inception)
        on_cpu = images.device.type == "cpu"
        parts = images.split(PER_THREAD * torch.get_num_threads()) if on_cpu else [images]
        resize = RESIZERS[self.resizer]
        found = [network((resize(x.float(), 299).expand(-1, 3, -1, -1) - 128).div_(128)) for x in parts]
        return FeatureOutputs(torch.cat([x.features for x in found]), torch.cat([x.logits for x in found]))


class Inception(nn.Module):
    """The layers of torch-fidelity's Inception, from resized images on.

    Args:
        network: torch-fidelity's; it is changed.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        for block in list(network.modules()):
            convolution, norm = getattr(block, "conv", None), getattr(block, "bn", None)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block.conv, block.bn = fusion.fuse_conv_bn_eval(convolution, norm), nn.Identity()
        layers = [layer for name, layer in network.named_children() if name != "fc"]
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.weight = nn.Parameter(network.get_parameter("fc.weight").detach())

    def forward(self, images: Tensor) -> FeatureOutputs:
        """Float images [N, 3, 299, 299], where -1 is black and nearly 1 white."""
        x = images.to(self.weight.dtype).contiguous(memory_format=torch.channels_last)
        features = self.trunk(x).float()
        return FeatureOutputs(features, F.linear(features, self.weight.float()))


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type of a network's parameters, which its input must have."""
    return next(network.parameters()).dtype
