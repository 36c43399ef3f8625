"""Adaptive discriminator augmentation (Karras et al. 2020b): eighteen transformations, each with probability p."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from saddle.augment.adaptive import Adaptive
from saddle.augment.geometry import SYM6, blit, reflect, rotate, scale, translate, warp
from saddle.errors import InputError
from saddle.networks.resample import taps
from saddle.randomness import Draws

SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
BANDS = 4  # of the image-space filter, from low to high frequency
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of natural images in these bands


def filter_bank() -> Tensor:
    """Band-pass filters whose sum is the identity, [BANDS, taps], float64, low band first."""
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1, -1, 1, -1])
    low, high = (convolve(h, h.flip(0)) / 2 for h in (low, high))
    bank = []
    for band in range(BANDS):
        depth = BANDS - 1 - max(band - 1, 0)  # how often the signal is halved to reach this band
        response = torch.ones(1, dtype=torch.float64)
        for level in range(depth):
            part = high if band and level == depth - 1 else low
            response = convolve(response, dilate(part, 2**level))
        bank.append(response)
    longest = max(len(response) for response in bank)
    return torch.stack([F.pad(response, 2 * [(longest - len(response)) // 2]) for response in bank])


def convolve(a: Tensor, b: Tensor) -> Tensor:
    """The full convolution of two vectors."""
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def dilate(a: Tensor, step: int) -> Tensor:
    """A vector with step - 1 zeros between its entries."""
    return F.pad(a[:, None], (0, step - 1)).flatten()[: (len(a) - 1) * step + 1]


class ADA(Adaptive):
    """The transformations of StyleGAN2-ADA, each applied to an image with probability (its multiplier) times p.

    Args:
        p, adaptive, target, kimg, every: of `Adaptive`.
        **multipliers: by the names below, where the defaults are those of the published "bgc" set.
    """

    xflip = 1.0  # of mirroring, with chance 1/2
    rotate90 = 1.0  # of turning by a random multiple of 90 degrees
    xint = 1.0  # of shifting by whole pixels, up to 1/8 of the side each way
    scale = 1.0  # of scaling by 2^N(0, 0.2^2)
    rotate = 1.0  # of turning by any angle, before or after `aniso`
    aniso = 1.0  # of stretching one axis by 2^N(0, 0.2^2) and squeezing the other
    xfrac = 1.0  # of shifting by N(0, (1/8)^2) of the side
    brightness = 1.0  # of adding N(0, 0.2^2)
    contrast = 1.0  # of multiplying by 2^N(0, 0.5^2)
    lumaflip = 1.0  # of mirroring the luma, with chance 1/2
    hue = 1.0  # of turning the colours about the luma axis by any angle; images of three channels only
    saturation = 1.0  # of multiplying the distance from the luma axis by 2^N(0, 1); images of three channels only
    imgfilter = 0.0  # of amplifying each of four frequency bands by 2^N(0, 1), at a constant expected power
    noise = 0.0  # of adding noise of a standard deviation |N(0, 0.1^2)|
    cutout = 0.0  # of setting a rectangle of half the sides to zero

    taps: Tensor
    bank: Tensor

    def __init__(
        self,
        p: float = 0.0,
        adaptive: bool = True,
        target: float = 0.6,
        kimg: float = 500.0,
        every: int = 4,
        **multipliers: float,
    ):
        super().__init__(p, adaptive, target, kimg, every)
        for name, multiplier in multipliers.items():
            if not isinstance(getattr(ADA, name, None), float):
                raise TypeError(f"ADA has no transformation {name}")
            setattr(self, name, multiplier)
        self.register_buffer("taps", taps(SYM6), persistent=False)
        self.register_buffer("bank", filter_bank().float(), persistent=False)

    # ---- the transformations ------------------------------------------------------------------------------------

    def forward(self, images: Tensor, draws: Draws) -> Tensor:
        """Transformed images [b, C, H, W].

        Raises:
            InputError: for colour transformations of images that have neither one nor three channels.
        """
        with torch.autocast(images.device.type, enabled=False):
            images = _where_changed(images, self._blits(images, draws), blit)
            warped = partial(warp, taps=self.taps.to(images.dtype))
            images = _where_changed(images, self._geometry(images, draws), warped)
            images = self._recolour(images, self._colours(images, draws))
            if self.imgfilter:
                images = _where_changed(images, self._gains(draws), self._filter)
            if self.noise:
                images = self._add_noise(images, draws)
            return self._cut_out(images, draws) if self.cutout else images

    def _chosen(
        self, multiplier: float, draws: Draws, value: Tensor, otherwise: float, p: Tensor | None = None
    ) -> Tensor:
        """`value` [b, ...] in the rows that are chosen with probability multiplier * p, `otherwise` in the others."""
        chosen = draws.uniform(*[1] * (value.dim() - 1)) < multiplier * (self.p if p is None else p)
        return torch.where(chosen, value, otherwise)

    def _blits(self, images: Tensor, draws: Draws) -> Tensor:
        """Where the pixels of the result come from, [b, 3, 3]: the inverses of the moves, first to last.

        The published code resamples here too; its filter is not quite symmetric, so a mirrored image comes out shifted
        by a part of a pixel. Moving whole pixels is exact.
        """
        height, width = images.shape[2:]
        inverse = torch.eye(3, dtype=draws.dtype, device=images.device).expand(len(images), 3, 3)
        if self.xflip:
            flip = self._chosen(self.xflip, draws, draws.integers(2).to(draws.dtype), 0.0)
            inverse = inverse @ scale(1 - 2 * flip, torch.ones_like(flip))
        if self.rotate90:
            quarters = self._chosen(self.rotate90, draws, draws.integers(4).to(draws.dtype), 0.0)
            inverse = inverse @ rotate(quarters * (math.pi / 2)).round()
        if self.xint:
            shift = self._chosen(self.xint, draws, (2 * draws.uniform(2) - 1) / 8, 0.0)
            inverse = inverse @ translate(-(shift[:, 0] * width).round(), -(shift[:, 1] * height).round())
        return inverse

    def _geometry(self, images: Tensor, draws: Draws) -> Tensor:
        """From a place in the result to the place in the image, [b, 3, 3]: the inverses, first to last."""
        height, width = images.shape[2:]
        inverse = torch.eye(3, dtype=draws.dtype, device=images.device).expand(len(images), 3, 3)
        if self.scale:
            factor = self._chosen(self.scale, draws, torch.exp2(0.2 * draws.normal()), 1.0)
            inverse = inverse @ scale(1 / factor, 1 / factor)
        # either of the two turns happens with probability rotate * p
        turn = 1 - (1 - (self.rotate * self.p).clamp(0, 1)).sqrt()
        if self.rotate:
            inverse = inverse @ rotate(self._chosen(1.0, draws, (2 * draws.uniform() - 1) * math.pi, 0.0, turn))
        if self.aniso:
            factor = self._chosen(self.aniso, draws, torch.exp2(0.2 * draws.normal()), 1.0)
            inverse = inverse @ scale(1 / factor, factor)
        if self.rotate:
            inverse = inverse @ rotate(self._chosen(1.0, draws, (2 * draws.uniform() - 1) * math.pi, 0.0, turn))
        if self.xfrac:
            shift = self._chosen(self.xfrac, draws, draws.normal(2) / 8, 0.0)
            inverse = inverse @ translate(-shift[:, 0] * width, -shift[:, 1] * height)
        return inverse

    def _colours(self, images: Tensor, draws: Draws) -> Tensor | None:
        """Homogeneous maps of colours, [b, 4, 4]; None where no transformation of colours is asked for."""
        if not any((self.brightness, self.contrast, self.lumaflip, self.hue, self.saturation)):
            return None
        eye = torch.eye(4, dtype=draws.dtype, device=images.device)
        luma = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=draws.dtype, device=images.device) / math.sqrt(3)
        along = torch.outer(luma, luma)  # onto the luma axis
        colours = eye.expand(len(images), 4, 4)
        if self.brightness:
            amount = self._chosen(self.brightness, draws, 0.2 * draws.normal(), 0.0)
            shift = eye.repeat(len(images), 1, 1)
            shift[:, :3, 3] = amount[:, None]
            colours = shift @ colours
        if self.contrast:
            factor = self._chosen(self.contrast, draws, torch.exp2(0.5 * draws.normal()), 1.0)
            colours = torch.diag_embed(torch.stack([factor, factor, factor, torch.ones_like(factor)], 1)) @ colours
        if self.lumaflip:
            flip = self._chosen(self.lumaflip, draws, draws.integers(2, 1, 1).to(draws.dtype), 0.0)
            colours = (eye - 2 * along * flip) @ colours
        if self.hue and images.shape[1] > 1:
            angle = self._chosen(self.hue, draws, (2 * draws.uniform() - 1) * math.pi, 0.0)
            colours = turn_about(luma[:3], angle) @ colours
        if self.saturation and images.shape[1] > 1:
            factor = self._chosen(self.saturation, draws, torch.exp2(draws.normal(1, 1)), 1.0)
            colours = (eye * factor + along * (1 - factor)) @ colours
        return colours

    def _recolour(self, images: Tensor, colours: Tensor | None) -> Tensor:
        if colours is None:
            return images
        linear, shift = colours[:, :3, :3], colours[:, :3, 3:]
        if images.shape[1] == 1:  # a grey image stands for three equal channels, of which the mean is kept
            return images * linear.sum((1, 2))[:, None, None, None] / 3 + shift.mean(1)[:, None, None]
        if images.shape[1] != 3:
            raise InputError(
                f"augment=ada: its changes of colour are for images of 1 or 3 channels, not {images.shape[1]}; "
                "set augment.brightness, contrast, lumaflip, hue and saturation to 0"
            )
        return (linear @ images.flatten(2) + shift).view_as(images)

    def _gains(self, draws: Draws) -> Tensor:
        """The gain of each frequency band, [b, BANDS]."""
        power = torch.tensor(POWER, dtype=draws.dtype, device=draws.device)
        total: Tensor | float = 1.0
        for band in range(BANDS):
            factor = self._chosen(self.imgfilter, draws, torch.exp2(draws.normal()), 1.0)
            gains = torch.where(torch.arange(BANDS, device=draws.device) == band, factor[:, None], 1.0)
            same = factor[:, None] == 1
            total = total * torch.where(same, gains, gains / (power * gains.square()).sum(1, keepdim=True).sqrt())
        assert isinstance(total, Tensor)
        return total

    def _filter(self, images: Tensor, gains: Tensor) -> Tensor:
        rows, channels = images.shape[:2]
        response = (gains @ self.bank.to(gains)).repeat_interleave(channels, 0)  # [rows * channels, taps]
        pad = response.shape[1] // 2
        x = reflect(images, pad, pad, pad, pad).flatten(0, 1)[None]
        x = F.conv2d(x, response[:, None, None, :], groups=rows * channels)
        return F.conv2d(x, response[:, None, :, None], groups=rows * channels)[0].unflatten(0, (rows, channels))

    def _add_noise(self, images: Tensor, draws: Draws) -> Tensor:
        deviation = self._chosen(self.noise, draws, 0.1 * draws.normal(1, 1, 1).abs(), 0.0)
        return images + deviation * draws.normal(*images.shape[1:])

    def _cut_out(self, images: Tensor, draws: Draws) -> Tensor:
        height, width = images.shape[2:]
        half = self._chosen(self.cutout, draws, torch.full((len(images), 1, 1, 1), 0.25).to(images), 0.0)
        x, y = draws.uniform(2, 1, 1, 1).unbind(1)
        columns = (torch.arange(width, device=images.device) + 0.5) / width
        rows = (torch.arange(height, device=images.device) + 0.5)[:, None] / height
        hole = ((columns - x).abs() < half) & ((rows - y).abs() < half)
        return images * (~hole).to(images.dtype)


def turn_about(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotations of space about a unit vector [3] by angles [b], homogeneous [b, 4, 4] (Rodrigues' formula)."""
    x, y, z = axis.tolist()
    cross = axis.new_tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    turned = cos * torch.eye(3).to(axis) + sin * cross + (1 - cos) * torch.outer(axis, axis)
    return F.pad(turned, (0, 1, 0, 1)) + torch.diag(axis.new_tensor([0, 0, 0, 1]))


def _where_changed(images: Tensor, how: Tensor, act: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`act` on the rows of images whose parameters `how` [b, ...] change anything; the other rows stay exactly."""
    neutral = torch.eye(3).to(how) if how.dim() == 3 else torch.ones_like(how[0])
    changed = (how != neutral).flatten(1).any(1).nonzero()[:, 0]
    if not len(changed):
        return images
    return images.index_copy(0, changed, act(images.index_select(0, changed), how.index_select(0, changed)))
