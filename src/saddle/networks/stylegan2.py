"""StyleGAN2 (Karras et al. 2020), with the options and the conditioning of StyleGAN2-ADA (Karras et al. 2020b).

G: styles scale the weights of its convolutions, demodulation takes their scale away again, and the image is the sum of
contributions of every size (skip architecture). D: residual, or plain for CIFAR-10. Layers have the gain sqrt(2) after
their LeakyReLU, not in their weights. `width` and `max_width` are those of `saddle.networks.progan`.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.autocast import in_convolution_type, no_autocast
from saddle.networks.equalised import EqualisedConv2d, EqualisedLinear, MinibatchStd, pixel_norm
from saddle.networks.progan import widths_of
from saddle.networks.resample import SMOOTH, Filter, fir, upsample
from saddle.networks.stylegan import LR_MULTIPLIER, StyleGenerator
from saddle.precision import at_least_float32
from saddle.randomness import layer_noise


def activate(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """gain sqrt(2) LeakyReLU(x) with slope 0.2, cut to [-gain clamp, gain clamp]."""
    x = F.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def modulated_convolution(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    up: Tensor | None = None,
    grouped: bool = False,
    eps: float = 1e-8,
) -> Tensor:
    """Convolution of each image with weights of its own: w' = s w, then w' / sqrt(sum w'^2 + eps) (equations 1 and 3).

    Two ways to the same result: weights per image in one grouped convolution, or, which is faster where the images are
    small, one shared convolution of s x, scaled afterwards.

    Args:
        x: [B, I, H, W].
        weight: w, [O, I, k, k], k odd; the size is kept.
        styles: s, [B, I].
        demodulate: divide by the norm of each output's weights.
        up: taps of a low-pass filter: double the size, by a transposed convolution and this filter.
        grouped: take the first way.
        eps: guards the division.

    Returns:
        [B, O, H, W], or [B, O, 2H, 2W] with `up`; in the type of x, or autocast's. Styles, weights and their norms stay
        in theirs until they meet x.
    """
    x = in_convolution_type(x)
    if x.dtype == torch.float16 and demodulate:  # no scale survives demodulation, so one that cannot overflow is free
        weight, styles = weight / weight.abs().amax((1, 2, 3), keepdim=True), styles / styles.abs().amax(1, True)
    norm: Tensor | None = None
    if demodulate:  # sum over I, k, k of (s w)^2 without the weights of every image
        with no_autocast(x):
            norm = (styles.square() @ weight.square().sum((2, 3)).T + eps).rsqrt()
    if grouped:
        own = weight * styles[:, None, :, None, None]
        own = own if norm is None else own * norm[:, :, None, None, None]
        y = _convolve(x.flatten(0, 1)[None], own.flatten(0, 1).to(x.dtype), up, groups=len(x))
        return y[0].unflatten(0, (len(x), -1))
    y = _convolve(x * styles[:, :, None, None].to(x.dtype), weight.to(x.dtype), up)
    return y if norm is None else y * norm[:, :, None, None].to(y.dtype)


def _convolve(x: Tensor, weight: Tensor, up: Tensor | None, groups: int = 1) -> Tensor:
    if up is None:
        return F.conv2d(x, weight, padding=weight.shape[2] // 2, groups=groups)
    # with `groups` the weights are [groups * O, I, k, k]; a transposed convolution wants [groups * I, O, k, k]
    transposed = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    pad = (len(up) - weight.shape[2] + 1) // 2
    return fir(F.conv_transpose2d(x, transposed, stride=2, groups=groups), up, pad, gain=4)


class Layers(NamedTuple):
    """What the layers of a synthesis network have in common.

    Attributes:
        w_dim: length of w.
        noise: add one noise image per image in every layer, scaled by a learned number that starts at 0.
        clamp: largest absolute value of a layer's output; None: no limit. StyleGAN2-ADA: 256, for half precision.
        grouped: see `modulated_convolution`.
    """

    w_dim: int
    noise: bool = True
    clamp: float | None = None
    grouped: bool = False


class StyledConvolution(Filter):
    """Modulated 3x3 convolution, which doubles the size with `up`, noise, bias, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, shared: Layers, up: bool = False):
        super().__init__(SMOOTH)
        self.affine = EqualisedLinear(shared.w_dim, inputs, bias_init=1)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise = nn.Parameter(torch.zeros(())) if shared.noise else None
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.up, self.clamp, self.grouped = up, shared.clamp, shared.grouped

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, inputs, H, W] under w [B, w_dim] -> [B, outputs, H, W], or [B, outputs, 2H, 2W] with `up`."""
        up = self.taps if self.up else None
        x = modulated_convolution(x, self.weight, self.affine(w), up=up, grouped=self.grouped)
        if self.noise is not None:
            x = x + self.noise * layer_noise(x, 1, *x.shape[2:])
        return activate(x + self.bias.to(x.dtype), clamp=self.clamp)


class ToImage(nn.Module):
    """Modulated 1x1 convolution to the image, without demodulation."""

    def __init__(self, inputs: int, channels: int, shared: Layers):
        super().__init__()
        self.affine = EqualisedLinear(shared.w_dim, inputs, bias_init=1)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.scale, self.clamp, self.grouped = 1 / math.sqrt(inputs), shared.clamp, shared.grouped

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, inputs, H, W] under w [B, w_dim] -> [B, channels, H, W], in at least float32."""
        styles = self.affine(w) * self.scale
        x = modulated_convolution(x, self.weight, styles, demodulate=False, grouped=self.grouped)
        x = at_least_float32(x) + self.bias
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class Synthesis(Filter):
    """ws to images. 4x4: a learned constant, one layer; every further size: two layers; every size adds to the image.

    It reads two w per size, [B, layers, w_dim]; the image of a size reads the w of the next size's first layer. Its
    arguments are those of `StyleGenerator` and `Layers`.
    """

    def __init__(
        self,
        w_dim: int,
        width: int,
        resolution: int,
        channels: int,
        max_width: int,
        noise: bool,
        clamp: float | None = None,
        grouped: bool = False,
    ):
        super().__init__(SMOOTH)
        shared = Layers(w_dim, noise, clamp, grouped)
        widths = widths_of(resolution, width, max_width)
        self.constant = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.convolutions = nn.ModuleList([StyledConvolution(widths[0], widths[0], shared)])
        for before, after in itertools.pairwise(widths):
            self.convolutions.append(StyledConvolution(before, after, shared, up=True))
            self.convolutions.append(StyledConvolution(after, after, shared))
        self.to_image = nn.ModuleList(ToImage(width, channels, shared) for width in widths)

    def forward(self, ws: Tensor) -> Tensor:
        """[B, layers, w_dim] -> images [B, C, resolution, resolution]."""
        x = self.constant.expand(len(ws), -1, -1, -1)
        images: Tensor | None = None
        for index, convolution in enumerate(self.convolutions):
            x = convolution(x, ws[:, index])
            if index % 2 == 0:  # the last layer of its size
                own = self.to_image[index // 2](x, ws[:, index + 1])
                images = own if images is None else upsample(images, self.taps) + own
        assert images is not None
        return images


class Mapping(nn.Module):
    """z and an embedding of the label, each normalised, through linear layers to w.

    Args:
        latent_dim: length of z; 0 for a mapping of labels alone, as D has.
        w_dim: length of w, of the layers between and of the embedding.
        layers: 8; 2 in StyleGAN2-ADA's settings for CIFAR-10 (D's mapping keeps 8).
        classes: 0: ignore labels.
    """

    def __init__(self, latent_dim: int, w_dim: int, layers: int = 8, classes: int = 0):
        super().__init__()
        self.classes = classes
        self.embedding = EqualisedLinear(classes, w_dim) if classes else None
        inputs = [latent_dim + (w_dim if classes else 0), *[w_dim] * (layers - 1)]
        self.layers = nn.ModuleList(EqualisedLinear(i, w_dim, lr_multiplier=LR_MULTIPLIER) for i in inputs)

    def forward(self, latents: Tensor | None, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] (None without) and labels [B] (int64) -> w [B, w_dim]."""
        parts = [] if latents is None else [pixel_norm(latents)]
        if self.embedding is not None:
            one_hot = F.one_hot(labels, self.classes).to(self.embedding.weight)
            parts.append(pixel_norm(self.embedding(one_hot)))
        x = torch.cat(parts, 1)
        for layer in self.layers:
            x = activate(layer(x))
        return x


class Generator(StyleGenerator):
    """StyleGAN2's generator: images in about [-1, 1] (no tanh at the end). `width` is 32 at 1024 pixels in the paper.

    Beside the arguments of `StyleGenerator` it takes `clamp` and `grouped`, those of `Layers`.
    """

    mapping_type, synthesis_type = Mapping, Synthesis
    synthesis: Synthesis


class Block(Filter):
    """3x3 convolution, filter, 3x3 convolution of stride 2; residual: plus filter and 1x1, all times sqrt(1/2).

    Args:
        residual: have the shortcut.
        clamp: largest absolute value of the layers' outputs; None: no limit.
    """

    def __init__(self, inputs: int, outputs: int, residual: bool = True, clamp: float | None = None):
        super().__init__(SMOOTH)
        self.clamp = clamp
        self.convolution1 = EqualisedConv2d(inputs, inputs, 3)
        self.convolution2 = EqualisedConv2d(inputs, outputs, 3)
        self.shortcut = EqualisedConv2d(inputs, outputs, 1, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H/2, W/2]."""
        h = fir(activate(self.convolution1(x), clamp=self.clamp), self.taps, 2)
        weight = self.convolution2.weight * self.convolution2.scale
        h = F.conv2d(h, weight, self.convolution2.bias, stride=2)
        if self.shortcut is None:
            return activate(h, clamp=self.clamp)
        gain = math.sqrt(0.5)
        return activate(h, gain, self.clamp) + gain * self.shortcut(fir(x, self.taps, 1, stride=2))


ARCHITECTURES = ("residual", "plain")


class Trunk(nn.Module):
    """StyleGAN2's discriminator without its last linear layer. It is not independent: minibatch standard deviation.

    Args (see `saddle.networks` for the others):
        width: 32 at 1024 pixels in the paper (config F).
        max_width: 512 in the paper.
        group: samples in a group of the minibatch standard deviation; 4; 32 in StyleGAN2-ADA's settings for CIFAR-10.
        architecture: "residual", or "plain", which StyleGAN2-ADA calls orig and uses for CIFAR-10.
        clamp: largest absolute value of the convolutional layers' outputs; None: no limit.

    Raises:
        InputError: for another architecture.
    """

    def __init__(
        self,
        width: int,
        resolution: int,
        channels: int,
        max_width: int = 512,
        group: int = 4,
        architecture: str = "residual",
        clamp: float | None = None,
    ):
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(f"model.trunk.architecture={architecture}: choose one of {', '.join(ARCHITECTURES)}")
        widths = widths_of(resolution, width, max_width)[::-1]
        self.features, self.independent, self.clamp = widths[-1], False, clamp
        self.from_image = EqualisedConv2d(channels, widths[0], 1)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.blocks = nn.Sequential(*(Block(i, o, architecture == "residual", clamp) for i, o in pairs))
        self.minibatch_std = MinibatchStd(group)
        self.convolution = EqualisedConv2d(self.features + 1, self.features, 3)
        self.linear = EqualisedLinear(16 * self.features, self.features)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        x = self.blocks(activate(self.from_image(images), clamp=self.clamp))
        x = activate(self.convolution(self.minibatch_std(x)), clamp=self.clamp)
        return activate(self.linear(x.flatten(1)))
