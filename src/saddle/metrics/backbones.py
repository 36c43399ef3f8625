"""Feature extractors beside Inception: any classifier of torchvision, DINOv2 and CLIP.

Inception saw ImageNet's classes and nothing else, and its features miss much of what people see. Scores on other
features are comparable with each other only where everything is the same: network, weights file, layer, resizer.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cached_property
from typing import ClassVar

import torch
import torchvision
from torch import Tensor, nn

from saddle.data.base import DataModule
from saddle.errors import InputError
from saddle.metrics.cache import digest
from saddle.metrics.features import FeatureExtractor, FeatureOutputs, dtype_of
from saddle.metrics.files import WeightsFile
from saddle.metrics.resizers import clean

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of the channels
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def normalised(images: Tensor, size: int, statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """Images from 0 to 255, [N, 1 or 3, H, W], as RGB of size x size (clean resizing) with given mean and deviation."""
    mean, deviation = (torch.tensor(x, device=images.device).view(1, 3, 1, 1) for x in statistics)
    return (clean(images.float(), size).expand(-1, 3, -1, -1) / 255 - mean) / deviation


def last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the last linear layer: that of the classes, in the classifiers of torchvision."""
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise InputError(f"{type(network).__name__} does not end in a linear layer: choose another network")
    return layers[-1]


class TorchvisionExtractor(FeatureExtractor):
    """A classifier of torchvision: features are what its last linear layer reads, logits what it gives.

    For vgg16 these features are the 4,096 of the layer fc2 after its ReLU, as in precision and recall's paper; for
    resnet50 the 2,048 of the last pooling. Images are resized to `size` pixels by the clean resizer, and normalised as
    for ImageNet.

    Args:
        name: of the network, e.g. vgg16, resnet50, convnext_tiny, vit_b_16.
        weights: a file (safetensors, or torch's with nothing but tensors); null: torch hub's folder, where those of
            torchvision are downloaded on first use.
        head: whether the weights have the layer of the classes. Networks trained without labels (SwAV, DINO's
            resnet50) have not: then there are no logits, and what else such a file has beside the network is left out.
        size: pixels of a side.
        bf16: compute in bfloat16.

    Raises:
        InputError: for an unknown network or a file that is not there.
    """

    file: WeightsFile

    def __init__(self, name: str, weights: str | None = None, head: bool = True, size: int = 224, bf16: bool = False):
        super().__init__(bf16)
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise InputError(f"torchvision has no classifier {name}: choose one of {', '.join(known)}")
        url = torchvision.models.get_model_weights(name)["DEFAULT"].url
        self.file = WeightsFile(weights, url, name, instead="metrics=frechet")
        if not head and not weights:
            raise InputError(f"{name}: torchvision's own weights have a head; name a file, or leave head=true")
        self.name, self.head, self.size = name, head, size
        self.made_from = ("torchvision", name, self.file.path, head, size)
        with torch.device("meta"):
            layer = last_linear(self._build())[1]
        self.features, self._classes = layer.in_features, layer.out_features

    def _build(self) -> nn.Module:
        return torchvision.models.get_model(self.name, weights=None)

    @property
    def classes(self) -> int:  # type: ignore[override]
        """Number of logits; refused where there are none, so that no score is made of them."""
        if not self.head:
            raise InputError(f"{self.name} without a head sees no classes: choose metrics that read features")
        return self._classes

    @property
    def fingerprint(self) -> str:
        """A hash of the weights file and of all options."""
        return digest("torchvision", self.name, self.file.hash(), self.head, self.size, self.precision)

    def origin(self) -> dict[str, str]:
        return {"weights": self.file.hash(), "resizer": f"clean {self.size}"}

    def load(self) -> nn.Module:
        network = self._build()
        last = last_linear(network)[0]
        shapes = {name: x.shape for name, x in network.state_dict().items()}
        # a tensor of another shape than the network's counts as missing
        fitting = {name: x for name, x in self.file.read().items() if shapes.get(name, x.shape) == x.shape}
        missing, unexpected = network.load_state_dict(fitting, strict=False)
        wrong = [name for name in missing if self.head or not name.startswith(f"{last}.")]
        wrong += unexpected if self.head else []
        if wrong:
            raise InputError(
                f"the weights {self.file.path} do not fit {self.name} ({wrong[0]}): choose the file of this network"
            )
        return network.eval().to(memory_format=torch.channels_last)

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """Input and output of the last linear layer."""
        seen: list[Tensor] = []
        hook = last_linear(network)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        x = normalised(images, self.size, IMAGENET).to(dtype_of(network))
        try:
            logits = network(x.contiguous(memory_format=torch.channels_last))
        finally:
            hook.remove()
        features = seen[0].flatten(1).float()
        return FeatureOutputs(features, logits.float() if self.head else features.new_zeros(len(features), 0))


class TransformersExtractor(FeatureExtractor):
    """Base of the extractors whose networks are those of the package transformers; there are no logits.

    Args:
        model: its name on the Hugging Face hub, or the folder of its files; only safetensors are read.
        features: length of its feature vectors; another one in the files is refused.
        bf16: compute in bfloat16.

    Attributes:
        network_class: in transformers.
        output: what of the network's output the features are.
        size: pixels of a side that images are resized to, by the clean resizer.
        statistics: mean and standard deviation of the channels.
    """

    network_class: ClassVar[str]
    output: ClassVar[str]
    size: ClassVar[int] = 224
    statistics: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]]

    def __init__(self, model: str, features: int, bf16: bool = False):
        super().__init__(bf16)
        if importlib.util.find_spec("transformers") is None:
            raise InputError(f"{type(self).__name__} needs the package transformers: pip install transformers")
        self.model, self.features, self.made_from = model, features, (self.name, model)

    @property
    def classes(self) -> int:  # type: ignore[override]
        """Refused: there are no logits that a score could be made of."""
        raise InputError(f"{self.name} sees no classes: choose metrics that read features")

    @property
    def fingerprint(self) -> str:
        """A hash of the weights and of the precision."""
        return digest(self.name, self.weights, self.size, self.precision)

    def origin(self) -> dict[str, str]:
        return {"model": self.model, "weights": self.weights, "resizer": f"clean {self.size}"}

    @cached_property
    def weights(self) -> str:
        """A hash of the weights, which are loaded for it and downloaded if they are not there."""
        total = hashlib.sha256()
        for name, x in sorted(self.load().state_dict().items()):
            total.update(f"{name}{tuple(x.shape)}".encode())
            total.update(x.float().contiguous().numpy().data)
        return total.hexdigest()

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Download the model if it is not there."""
        _ = self.weights

    def load(self) -> nn.Module:
        import transformers

        try:
            network = getattr(transformers, self.network_class).from_pretrained(self.model, use_safetensors=True)
        except Exception as error:  # of many kinds: no network, no such model, no safetensors, other tensors
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.name}: the model {self.model} cannot be had ({reason}): name the folder of its files"
            ) from error
        if not all(bool(x.isfinite().all()) for x in network.parameters()):
            raise InputError(f"{self.name}: the weights of {self.model} are not finite: delete its files")
        return network.float().eval()

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """The features, and no logits."""
        x = normalised(images, self.size, self.statistics).to(dtype_of(network))
        features = getattr(network(pixel_values=x.contiguous(memory_format=torch.channels_last)), self.output).float()
        if features.shape[1] != self.features:
            raise InputError(f"{self.name}: {self.model} gives {features.shape[1]} features: set features to that")
        return FeatureOutputs(features, features.new_zeros(len(features), 0))


class DINOv2Extractor(TransformersExtractor):
    """DINOv2 (Oquab et al. 2023, arXiv:2304.07193): the normalised class token of the last layer.

    With the large model, what Stein et al. 2023 (arXiv:2306.04675) found to agree best with people's judgement. Its
    features are 1024 of dinov2-large, 768 of dinov2-base, 384 of dinov2-small.
    """

    name = "dinov2"
    network_class = "Dinov2Model"
    output = "pooler_output"
    statistics = IMAGENET


class CLIPExtractor(TransformersExtractor):
    """CLIP (Radford et al. 2021, arXiv:2103.00020): the image embedding, not normalised to length 1.

    Any model that reads 224 pixels; its features are 768 of clip-vit-large-patch14, 512 of clip-vit-base-patch32.
    """

    name = "clip"
    network_class = "CLIPVisionModelWithProjection"
    output = "image_embeds"
    statistics = CLIP
