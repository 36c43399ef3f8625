"""What the ProGAN and StyleGAN families share: equalised learning rates, pixel norm, minibatch standard deviation.

With an equalised learning rate (Karras et al. 2018, section 4.1) weights are drawn from N(0, 1) and multiplied by He's
constant each time they are used, not once at the start: then Adam, whose steps do not follow the scale of a gradient,
moves all layers at the same relative speed. Linear layers and statistics stay in float32 under autocast.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.distributed import is_distributed
from saddle.errors import InputError
from saddle.networks.autocast import no_autocast
from saddle.networks.blocks import Resample, convolve3x3
from saddle.precision import at_least_float32

HE = math.sqrt(2)  # gain that keeps the variance through a (leaky) ReLU


class EqualisedLinear(nn.Module):
    """y = c W x + m b with W ~ N(0, 1 / m^2), c = gain m / sqrt(inputs), m the learning rate multiplier.

    Args:
        gain: sqrt(2) before an activation without a gain of its own, else 1.
        lr_multiplier: m; 0.01 in a mapping network.
        bias: have b.
        bias_init: value of m b at the start.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        gain: float = 1.0,
        lr_multiplier: float = 1.0,
        bias: bool = True,
        bias_init: float = 0.0,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias_init / lr_multiplier)) if bias else None
        self.scale, self.bias_scale = gain * lr_multiplier / math.sqrt(inputs), lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs], in at least float32 under autocast too."""
        bias = None if self.bias is None else self.bias * self.bias_scale
        with no_autocast(x):
            return F.linear(at_least_float32(x), self.weight * self.scale, bias)

    def extra_repr(self) -> str:
        """Show sizes and scale."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, scale={self.scale:.3g}"


class EqualisedConv2d(nn.Module):
    """Convolution with weights c W, W ~ N(0, 1), c = gain / sqrt(inputs k^2).

    Args:
        kernel: its side k; odd kernels keep the size.
        gain: sqrt(2) before an activation without a gain of its own, else 1.
        resample: as `saddle.networks.blocks.convolve3x3` does; only with a 3x3 kernel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        gain: float = 1.0,
        resample: Resample = "none",
        bias: bool = True,
    ):
        super().__init__()
        if resample != "none" and kernel != 3:
            raise ValueError(f"a {kernel}x{kernel} kernel cannot be merged with resampling: only 3x3")
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.resample = gain / math.sqrt(inputs * kernel**2), resample

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W], [.., 2H, 2W] (up) or [.., H/2, W/2] (down)."""
        weight = self.weight * self.scale
        if self.resample != "none":
            return convolve3x3(x, weight, self.bias, self.resample)
        return F.conv2d(x, weight, self.bias, padding=weight.shape[2] // 2)

    def extra_repr(self) -> str:
        """Show sizes and scale."""
        outputs, inputs, kernel, _ = self.weight.shape
        return f"{inputs}, {outputs}, kernel={kernel}, scale={self.scale:.3g}, resample={self.resample}"


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """x / sqrt(mean over channels of x^2 + eps), for [B, C] or [B, C, H, W] (Karras et al. 2018, section 4.2)."""
    scale = (at_least_float32(x).square().mean(1, keepdim=True) + eps).rsqrt()
    return x * scale.to(x.dtype)


class PixelNorm(nn.Module):
    """`pixel_norm` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, C, ...]."""
        return pixel_norm(x)


class MinibatchStd(nn.Module):
    """Appends the standard deviation over a group of samples as a channel (Karras et al. 2018, section 3).

    The deviation over the group is averaged over channels and pixels to one number, which becomes a constant map. A
    group is `group` rows that follow each other, so that it lies inside one process and one micro-batch: one process
    and many compute the same. (The published code takes rows that are far apart; as rows are drawn independently, that
    is the same in distribution.)

    Args:
        group: samples in a group; 4 in the paper, 32 in StyleGAN2-ADA's settings for CIFAR-10.

    Raises:
        InputError: from `forward`, where the rows of a process and micro-batch are no multiple of the group. Fewer
            rows than one group form a group of their own where there is one process.
    """

    def __init__(self, group: int = 4):
        super().__init__()
        if group < 2:
            raise InputError(f"model.trunk.group={group}: a standard deviation needs groups of 2 samples or more")
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C + 1, H, W]."""
        rows, _, height, width = x.shape
        group = rows if rows < self.group and not is_distributed() else self.group
        if rows % group:
            raise InputError(
                f"data.batch_size: the minibatch standard deviation needs a multiple of {group} images per process "
                f"and micro-batch (trainer.accumulate, times model.packing), not {rows}"
            )
        deviation = (at_least_float32(x.unflatten(0, (-1, group))).var(1, correction=0) + 1e-8).sqrt()
        means = deviation.mean((1, 2, 3)).to(x.dtype).repeat_interleave(group)  # [groups, C, H, W] -> [B]
        return torch.cat([x, means[:, None, None, None].expand(-1, 1, height, width)], 1)
