"""StyleGAN (Karras, Laine and Aila 2019): a mapping network, styles through AdaIN, noise inputs, a constant start.

`StyleBased` is what StyleGAN and StyleGAN2 share: latents z become intermediate latents w, one per layer; mixing and
truncation act on these. Sizes and growing are those of `saddle.networks.progan`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.distributed import all_reduce, world_size
from saddle.networks import progan
from saddle.networks.equalised import HE, EqualisedConv2d, EqualisedLinear, pixel_norm
from saddle.networks.progan import Growing, channels_at, enlarge, sizes
from saddle.networks.resample import TENT, Blur
from saddle.randomness import layer_noise


class StyleBased(nn.Module):
    """A mapping network from z to w and a synthesis network from one w per layer to the image.

    The buffer `w_avg` is the moving average of w over the latents of all processes, taken in training mode; truncation
    pulls towards it. An average of G's weights copies it, because it is an average already.

    Args:
        mapping: latents [B, latent_dim] and labels [B] to w [B, w_dim].
        synthesis: ws [B, layers, w_dim] to images.
        layers: how many w the synthesis network reads.
        w_dim: length of w.
        decay: of `w_avg`; 0.995 in the published code.
    """

    w_avg: Tensor

    def __init__(self, mapping: nn.Module, synthesis: nn.Module, layers: int, w_dim: int, decay: float = 0.995):
        super().__init__()
        self.mapping, self.synthesis, self.layers, self.decay = mapping, synthesis, layers, decay
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

    def forward(
        self,
        latents: Tensor,
        labels: Tensor,
        mixing: Tensor | None = None,
        crossover: Tensor | int | None = None,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W]; for the rest see `styles`."""
        return self.synthesis(self.styles(latents, labels, mixing, crossover, truncation, cutoff))

    @torch.no_grad()
    def _follow(self, w: Tensor) -> None:
        mean = all_reduce(w.detach().mean(0)) / world_size()
        self.w_avg.lerp_(mean.to(self.w_avg), 1 - self.decay)


class Mapping(nn.Module):
    """z, joined by an embedding of the label where there are classes, normalised, through linear layers to w.

    Args:
        latent_dim: length of z.
        w_dim: length of w and of the layers between; 512 in the paper.
        layers: 8 in the paper.
        classes: 0: ignore labels.
        lr_multiplier: of the layers' equalised learning rate; 0.01 in the paper.
    """

    def __init__(self, latent_dim: int, w_dim: int, layers: int = 8, classes: int = 0, lr_multiplier: float = 0.01):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(classes, latent_dim)) if classes else None
        inputs = [latent_dim * (2 if classes else 1), *[w_dim] * (layers - 1)]
        self.layers = nn.ModuleList(EqualisedLinear(i, w_dim, HE, lr_multiplier) for i in inputs)

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
        """x [B, C, H, W] under w [B, w_dim]."""
        if self.noise is not None:
            x = x + self.noise * layer_noise(x, 1, *x.shape[2:])
        x = F.leaky_relu(x + self.bias, 0.2)
        scale, shift = self.affine(w)[:, :, None, None].to(x.dtype).chunk(2, 1)
        return instance_norm(x) * (scale + 1) + shift


def instance_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean 0 and variance 1 over the pixels of each channel of each image, [B, C, H, W]."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
    return ((wide - mean) * (variance + eps).rsqrt()).to(x.dtype)


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
        h = self.constant.expand(len(ws), -1, -1, -1) if self.constant is not None else self.up(x)
        return self.style2(self.convolution(self.style1(h, ws[:, 0])), ws[:, 1])


class Synthesis(Growing):
    """ws to images, two layers per size; it grows like `saddle.networks.progan.Generator`.

    Args:
        w_dim: length of w.
        width: channels at the full resolution; 16 at 1024 pixels in the paper.
        resolution: a power of two, 8 at least.
        channels: of the image.
        max_width: channels at the small sizes; 512 in the paper.
        noise: add noise in every layer.
    """

    def __init__(
        self, w_dim: int, width: int, resolution: int, channels: int, max_width: int = 512, noise: bool = True
    ):
        super().__init__(len(sizes(resolution)))
        self.resolution = resolution
        widths = [channels_at(size, resolution, width, max_width) for size in sizes(resolution)]
        pairs = zip([0, *widths[:-1]], widths, strict=True)
        self.blocks = nn.ModuleList(Block(before, after, w_dim, noise) for before, after in pairs)
        self.to_image = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths)

    def forward(self, ws: Tensor) -> Tensor:
        """[B, layers, w_dim] -> images [B, C, resolution, resolution]; a stage reads the first 2 (stage + 1) layers."""
        return enlarge(self.render(ws), self.resolution)

    def render(self, ws: Tensor) -> Tensor:
        """Images of the current stage's own size."""
        stage, alpha = self.grown
        before: Tensor | None = None
        x: Tensor | None = None
        for index, block in enumerate(self.blocks[: stage + 1]):
            before, x = x, block(x, ws[:, 2 * index : 2 * index + 2])
        images = self.to_image[stage](x)
        if alpha < 1:
            images = enlarge(self.to_image[stage - 1](before), images.shape[-1]).lerp(images, alpha)
        return images


class Generator(StyleBased):
    """StyleGAN's generator: images in about [-1, 1] (no tanh at the end).

    Args:
        latent_dim: length of a latent; 512 in the paper.
        width: channels at the full resolution; 16 at 1024 pixels in the paper.
        resolution: a power of two, 8 at least.
        channels: of the image.
        max_width: channels at the small sizes; 512 in the paper.
        w_dim: length of w; 512 in the paper.
        mapping_layers: 8 in the paper.
        classes: condition the mapping network on labels; 0: ignore them.
        noise: add noise in every layer.
    """

    synthesis: Synthesis

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
    ):
        synthesis = Synthesis(w_dim, width, resolution, channels, max_width, noise)
        mapping = Mapping(latent_dim, w_dim, mapping_layers, classes)
        super().__init__(mapping, synthesis, 2 * len(sizes(resolution)), w_dim)
        self.latent_dim = latent_dim

    def grow(self, stage: int, alpha: float = 1.0) -> None:
        """Work at stage number `stage`, whose own layers have the weight `alpha`: see `Growing.grow`."""
        self.synthesis.grow(stage, alpha)

    @property
    def stages(self) -> int:
        """How many stages it grows through."""
        return self.synthesis.stages


class Trunk(progan.Trunk):
    """ProGAN's discriminator with a blur before each halving; see there."""

    def __init__(self, width: int, resolution: int, channels: int, max_width: int = 512, group: int = 4):
        super().__init__(width, resolution, channels, max_width, group, blur=True)
