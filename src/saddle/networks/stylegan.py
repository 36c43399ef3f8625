"""StyleGAN (Karras, Laine and Aila 2019): a mapping network, styles through AdaIN, noise inputs, a constant start.

`StyleGenerator` is what StyleGAN and StyleGAN2 share: latents z become intermediate latents w, one per layer; mixing
and truncation act on these. Sizes, widths and growing are those of `saddle.networks.progan`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.distributed import all_reduce, world_size
from saddle.networks import progan
from saddle.networks.equalised import HE, EqualisedConv2d, EqualisedLinear, pixel_norm
from saddle.networks.progan import GrowingImages, sizes, widths_of
from saddle.networks.resample import TENT, Blur
from saddle.precision import at_least_float32
from saddle.randomness import layer_noise

DECAY = 0.995  # of the average of w, as in the published code
LR_MULTIPLIER = 0.01  # of a mapping network's equalised learning rate


class StyleGenerator(nn.Module):
    """A mapping network from z to w and a synthesis network from one w per layer to the image.

    A subclass says of which types they are; the seed gives the synthesis network its weights first.

    The buffer `w_avg` is the moving average of w over the latents of all processes, taken in training mode; truncation
    pulls towards it. An average of G's weights copies it, because it is an average already.

    Args (see `saddle.networks` for the others):
        latent_dim: 512 in the papers.
        max_width: 512 in the papers.
        w_dim: length of w; 512 in the papers.
        mapping_layers: 8 in the papers, 2 in StyleGAN2-ADA's settings for CIFAR-10.
        classes: condition the mapping network on labels; 0: ignore them.
        noise: add noise in every layer.
        **options: what else the synthesis network takes.

    Attributes:
        layers: how many w the synthesis network reads.
    """

    mapping_type: ClassVar[type[nn.Module]]
    synthesis_type: ClassVar[type[nn.Module]]
    w_avg: Tensor

    def __init__(
        self,
        latent_dim: int,
        width: int,
        resolution: int,
        channels: int,
        max_width: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        classes: int = 0,
        noise: bool = True,
        **options: Any,
    ):
        super().__init__()
        synthesis = self.synthesis_type(w_dim, width, resolution, channels, max_width, noise, **options)
        self.mapping = self.mapping_type(latent_dim, w_dim, mapping_layers, classes)
        self.synthesis, self.layers = synthesis, 2 * len(sizes(resolution))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def styles(
        self,
        latents: Tensor,
        labels: Tensor,
        mixing: Tensor | None = None,
        crossover: Tensor | int | None = None,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """One w per layer.

        Args:
            latents: [B, latent_dim].
            labels: int64 [B].
            mixing: second latents [B, latent_dim] for style mixing (section 3.1), with `crossover`.
            crossover: the first layer that follows `mixing`: a number, or int64 [B] for one per image.
            truncation: psi: w becomes w_avg + psi (w - w_avg) (appendix B); 1 leaves it.
            cutoff: truncate only the layers before this one (8 in the paper); None: all.

        Returns:
            ws [B, layers, w_dim].
        """
        w = self.mapping(latents, labels)
        if self.training:
            self._follow(w)
        ws = w[:, None].expand(-1, self.layers, -1)
        layer = torch.arange(self.layers, device=w.device)[None, :, None]
        if mixing is not None:
            if crossover is None:
                raise ValueError("style mixing needs the crossover: the first layer of the second style")
            start = torch.as_tensor(crossover, device=w.device).reshape(-1, 1, 1)
            ws = torch.where(layer < start, ws, self.mapping(mixing, labels)[:, None])
        if truncation != 1:
            cut = self.layers if cutoff is None else cutoff
            ws = torch.where(layer < cut, torch.lerp(self.w_avg.to(ws), ws, truncation), ws)
        return ws

    def forward(self, latents: Tensor, labels: Tensor, **options: Any) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W]; for the options see `styles`."""
        return self.synthesis(self.styles(latents, labels, **options))

    @torch.no_grad()
    def _follow(self, w: Tensor) -> None:
        mean = all_reduce(w.detach().mean(0)) / world_size()
        self.w_avg.lerp_(mean.to(self.w_avg), 1 - DECAY)


class Mapping(nn.Module):
    """z, joined by an embedding of the label where there are classes, normalised, through linear layers to w.

    Args:
        latent_dim: length of z.
        w_dim: length of w and of the layers between; 512 in the paper.
        layers: 8 in the paper.
        classes: 0: ignore labels.
    """

    def __init__(self, latent_dim: int, w_dim: int, layers: int = 8, classes: int = 0):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(classes, latent_dim)) if classes else None
        inputs = [latent_dim * (2 if classes else 1), *[w_dim] * (layers - 1)]
        self.layers = nn.ModuleList(EqualisedLinear(i, w_dim, HE, LR_MULTIPLIER) for i in inputs)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> w [B, w_dim]."""
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding[labels].to(latents)], 1)
        x = pixel_norm(latents)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return x


class Style(nn.Module):
    """What follows each convolution: noise, bias, LeakyReLU, instance norm, and the style (AdaIN, equation 1).

    Args:
        channels: C.
        w_dim: length of w.
        noise: add noise, one image for all channels, scaled by a learned number per channel that starts at 0.
    """

    def __init__(self, channels: int, w_dim: int, noise: bool = True):
        super().__init__()
        self.noise = nn.Parameter(torch.zeros(channels, 1, 1)) if noise else None
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.affine = EqualisedLinear(w_dim, 2 * channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, C, H, W] under w [B, w_dim] -> [B, C, H, W], in the type of x; computed in at least float32."""
        # the mean is taken away below: what low types round off would be blown up with the rest
        h = at_least_float32(x)
        if self.noise is not None:
            h = h + self.noise * layer_noise(h, 1, *h.shape[2:])
        h = F.leaky_relu(h + self.bias, 0.2)
        variance, mean = torch.var_mean(h, (2, 3), correction=0, keepdim=True)
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, 1)
        return ((h - mean) * (variance + 1e-8).rsqrt() * (scale + 1) + shift).to(x.dtype)


class Block(nn.Module):
    """[Nearest upsampling, 3x3 convolution, blur], style, 3x3 convolution, style.

    Args:
        inputs: channels in; 0 for the first block, which begins with a learned constant.
        outputs: channels out.
        w_dim: length of w.
        noise: add noise.
    """

    def __init__(self, inputs: int, outputs: int, w_dim: int, noise: bool = True):
        super().__init__()
        self.constant = None if inputs else nn.Parameter(torch.ones(outputs, 4, 4))
        up = [EqualisedConv2d(inputs, outputs, 3, HE, "up", bias=False), Blur(TENT)] if inputs else []
        self.up = nn.Sequential(*up)
        self.style1, self.style2 = Style(outputs, w_dim, noise), Style(outputs, w_dim, noise)
        self.convolution = EqualisedConv2d(outputs, outputs, 3, HE, bias=False)

    def forward(self, x: Tensor | None, ws: Tensor) -> Tensor:
        """[B, inputs, H, W] (None in the first block) and ws [B, 2, w_dim] -> [B, outputs, 2H, 2W]."""
        h = self.up(x) if self.constant is None else self.constant.expand(len(ws), -1, -1, -1)
        return self.style2(self.convolution(self.style1(h, ws[:, 0])), ws[:, 1])


class Synthesis(GrowingImages):
    """ws to images, two layers per size; it grows like `saddle.networks.progan.Generator`.

    Args (see `saddle.networks` for the others):
        w_dim: length of w.
        noise: add noise in every layer.
    """

    def __init__(self, w_dim: int, width: int, resolution: int, channels: int, max_width: int, noise: bool):
        super().__init__(len(sizes(resolution)))
        self.resolution = resolution
        widths = widths_of(resolution, width, max_width)
        pairs = zip([0, *widths[:-1]], widths, strict=True)
        self.blocks = nn.ModuleList(Block(before, after, w_dim, noise) for before, after in pairs)
        self.to_image = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths)

    def forward(self, ws: Tensor) -> Tensor:
        """[B, layers, w_dim] -> images [B, C, resolution, resolution]; a stage reads the first 2 (stage + 1) layers."""
        before, x = None, self.blocks[0](None, ws[:, :2])
        for index in range(1, self.stage + 1):
            before, x = x, self.blocks[index](x, ws[:, 2 * index : 2 * index + 2])
        return self.images(before, x)


class Generator(StyleGenerator):
    """StyleGAN's generator: images in about [-1, 1] (no tanh at the end). `width` is 16 at 1024 pixels in the paper."""

    mapping_type, synthesis_type = Mapping, Synthesis
    synthesis: Synthesis

    def grow(self, stage: int, alpha: float = 1.0) -> None:
        """Work at stage number `stage`, whose own layers have the weight `alpha`: see `Growing.grow`."""
        self.synthesis.grow(stage, alpha)

    @property
    def stages(self) -> int:
        """How many stages it grows through."""
        return self.synthesis.stages


class Trunk(progan.Trunk):
    """ProGAN's discriminator with a blur before each halving; see there."""

    blurs = True
