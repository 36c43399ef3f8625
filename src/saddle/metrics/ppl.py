"""Perceptual path length: how much the image changes on a short way through latent space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS
from torchmetrics.utilities import dim_zero_cat

from saddle.data.base import DataModule
from saddle.errors import InputError
from saddle.metrics.base import ModelMetric, require_images
from saddle.metrics.features import FeatureExtractor
from saddle.metrics.files import WeightsFile
from saddle.randomness import Rows, SampleDraws, generator, layer_noise_from, rows_integers, rows_uniform

VGG_URL = str(torchvision.models.VGG16_Weights.IMAGENET1K_V1.url)
SPACES = ("auto", "z", "w")
SAMPLINGS = ("end", "full")


class FeatureDistance(nn.Module):
    """The squared Euclidean distance between the features of two images.

    Args:
        extractor: gives the features, in float32: in bfloat16 those of neighbours are equal.
    """

    def __init__(self, extractor: FeatureExtractor):
        super().__init__()
        if extractor.bf16:
            raise InputError("ppl: the images of a pair are too close for bfloat16: set bf16=false")
        self.extractor = extractor

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] to [N]."""
        first, second = (self.extractor.outputs((x.float() + 1) * 127.5).features.double() for x in (a, b))
        return (first - second).square().sum(1)


class LPIPSDistance(nn.Module):
    """LPIPS (Zhang et al. 2018, arXiv:1801.03924) with VGG-16, a squared distance, as StyleGAN's path length uses it.

    Network and channel weights are torchmetrics'; images above 256 pixels are averaged down to 256.

    Args:
        vgg: a weights file of torchvision's vgg16; null: torch hub's folder, downloaded there on first use.

    Raises:
        InputError: if the file is not there, or cannot be downloaded.
    """

    def __init__(self, vgg: str | None = None):
        super().__init__()
        self.file = WeightsFile(vgg, VGG_URL, "VGG-16", instead="metrics=ppl, which needs no LPIPS")
        self._network: nn.Module | None = None

    def prepare(self, datamodule: DataModule | None = None) -> None:
        """Download the weights if they are not there."""
        self.file.fetch()

    def load(self) -> nn.Module:
        """torchmetrics' network with the weights of the file."""
        weights = self.file.read()
        with torch.random.fork_rng(devices=[]):  # its first, random weights leave the run's random numbers alone
            network = _LPIPS(net="vgg", pnet_rand=True)
        try:
            for layers in network.net.children():
                layers.load_state_dict({name: weights[f"features.{name}"] for name in layers.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise InputError(
                f"the weights {self.file.path} do not fit VGG-16: choose the file that belongs to it"
            ) from error
        return network.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Images [N, 1 or 3, H, W] in [-1, 1] to [N]."""
        if self._network is None:
            self._network = self.load()
        images = torch.cat([a, b]).float().expand(-1, 3, -1, -1)
        if max(images.shape[-2:]) > 256:
            images = F.adaptive_avg_pool2d(images, 256)
        first, second = images.contiguous(memory_format=torch.channels_last).chunk(2)
        return self._network.to(a.device)(first, second).flatten()


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985) of vectors of any length: a at t = 0, b at t = 1.

    Args:
        a, b: [N, D].
        t: [N].
    """
    t = t[:, None]
    angle = (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1, keepdim=True).clamp(-1, 1).acos()
    curved = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return torch.where(angle.sin() < 1e-6, a + t * (b - a), curved)  # (nearly) parallel: a straight line


class PerceptualPathLength(ModelMetric):
    """Perceptual path length (Karras et al. 2019, arXiv:1812.04948, section 4.1): E d(G(x(t)), G(x(t + eps))) / eps^2.

    x(t) runs from one random latent to another: in z on the great circle, in W, which style-based generators have, on
    the straight line. d is a squared distance between images. The distances below the first percentile and above the
    99th are left out, as in the published code. Lower is smoother; a generator that ignores its latent has 0, so it
    says nothing by itself. Layer noise is the same on both sides of a pair; images are computed in the model's own
    precision, without autocast, and not rounded.

    Known values: StyleGAN2 on FFHQ, in W at the ends, with LPIPS: 129.4. With the distance of a classifier's features
    values are comparable among runs on the same data only.

    Args:
        distance: squared, between images.
        epsilon: step, above 0.
        space: z, w, or auto: w where the generator has it.
        sampling: "end": t = 0; "full": t uniform in [0, 1).

    Raises:
        InputError: for options out of range, and where space is w and the generator has none.
    """

    distances: list[Tensor] | Tensor

    def __init__(
        self,
        distance: nn.Module,
        epsilon: float = 1e-4,
        space: str = "auto",
        sampling: str = "end",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not epsilon > 0 or space not in SPACES or sampling not in SAMPLINGS:
            raise InputError(
                f"ppl: epsilon={epsilon} space={space} sampling={sampling}; choose epsilon above 0, space of "
                f"{', '.join(SPACES)}, sampling of {', '.join(SAMPLINGS)}"
            )
        self.distance, self.epsilon, self.space, self.sampling = distance, epsilon, space, sampling
        self.add_state("distances", [], dist_reduce_fx="cat")

    @torch.no_grad()
    def update(self, model: Any, rows: Rows, *, seed: int, ema: bool, truncation: float | None) -> None:
        """Take in the paths number `rows` of a model; see `ModelMetric`."""
        network = model.ema.module if ema else model.generator
        labels = rows_integers(seed, "labels", rows.start, rows.stop, max(model.prior.classes, 1)).to(model.device)
        other = int(torch.randint(2**31, (), generator=generator(seed, "ppl/other end")))
        ends = [model.sample_latents(s, rows.start, rows.stop, truncation).to(model.device) for s in (seed, other)]
        t = torch.zeros(len(rows), dtype=torch.float64, device=model.device)
        if self.sampling == "full":
            t += rows_uniform(seed, "ppl/place", rows.start, rows.stop).to(t)
        training = network.training
        network.eval()
        path = self._path(network, ends, labels, model.dtype)
        pair = []
        for place in (t, t + self.epsilon):
            with layer_noise_from(SampleDraws(seed, "noise", rows.start, rows.stop)):
                pair.append(path(place))
        network.train(training)
        if not all(bool(images.isfinite().all()) for images in pair):
            raise InputError("the generator's images are not finite: the run has diverged")
        cast(list[Tensor], self.distances).append(self.distance(*pair).double() / self.epsilon**2)

    def _path(self, network: Any, ends: list[Tensor], labels: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """From places t in [0, 1] on the way between two latents to images."""
        styled = hasattr(network, "styles") and hasattr(network, "synthesis")
        if self.space == "w" and not styled:
            raise InputError(f"ppl: {type(network).__name__} has no w: set space=z")
        if styled and self.space != "z":
            first, last = (network.styles(z.to(dtype), labels).double() for z in ends)
            return lambda t: network.synthesis((first + t[:, None, None] * (last - first)).to(dtype))
        return lambda t: network(slerp(ends[0].double(), ends[1].double(), t).to(dtype), labels)

    def compute(self) -> Tensor:
        """The mean of the distances from the 1st to the 99th percentile, float64; InputError before the first two."""
        count = sum(map(len, self.distances)) if isinstance(self.distances, list) else len(self.distances)
        require_images(count, "generated pairs of")
        values = dim_zero_cat(self.distances).sort().values
        low, high = math.floor(0.01 * (count - 1)), math.ceil(0.99 * (count - 1))
        return values[(values >= values[low]) & (values <= values[high])].mean()
