"""Normalisation of activations, under a condition or not, and of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from saddle.distributed import all_gather, is_distributed
from saddle.precision import at_least_float32

M = TypeVar("M", bound=nn.Module)


class BatchNorm(nn.Module):
    """Batch normalisation whose statistics are those of all processes (Ioffe and Szegedy 2015).

    Made of ordinary operations on a differentiable gather where there are several processes, so it works on CPU
    and under double backward; torch.nn.SyncBatchNorm does neither.

    Args:
        channels: number of channels C of the input [B, C] or [B, C, H, W].
        affine: learn a gain (initially 1) and a bias (initially 0) per channel.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, affine: bool = True, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalise [B, C] or [B, C, H, W]; a condition, which conditional norms read, is ignored."""
        # float64 is there to compare process counts: where the true gradient is zero (of a bias before the norm),
        # torch's kernel leaves a noise of 1e-14, and Adam turns that into steps of 1e-9
        alone = not (dist.is_available() and dist.is_initialized() and is_distributed())
        if not self.training or (alone and x.dtype != torch.float64):
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        return self._synchronised(x)

    def _synchronised(self, x: Tensor) -> Tensor:
        exact = at_least_float32(x)
        axes = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        # means and sums of squares about them join without the cancellation of E[x^2] - E[x]^2 (Chan et al. 1979)
        own_mean = exact.mean(axes)
        own_squares = (exact - own_mean.view(shape)).square().sum(axes)
        count = own_mean.new_full((1,), x.numel() / x.shape[1])
        parts = all_gather(torch.cat([own_mean, own_squares, count])[None])
        means, squares, counts = parts.tensor_split((x.shape[1], 2 * x.shape[1]), dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (squares + counts * (means - mean).square()).sum(0) / total
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (total / (total - 1).clamp(min=1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        y = (exact - mean.view(shape)) * scale.view(shape)
        if self.bias is not None:
            y = y + self.bias.view(shape)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """Show what distinguishes this layer."""
        return f"{self.running_mean.numel()}, affine={self.weight is not None}, eps={self.eps}"


class SpectralNorm(nn.Module):
    """W / sigma(W): the weight as a matrix (out, rest), divided by its largest singular value (Miyato et al. 2018).

    sigma = u^T W v is differentiated, u and v are not. The power iteration that follows W is not part of the forward
    pass: `power_iterate` runs it once per step of the player that owns the weight, so one pass over real and fake
    images together and two separate passes see the same weight.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, eps: float = 1e-12):
        super().__init__()
        self.eps = eps
        matrix = weight.detach().flatten(1)
        for name, size in zip(("u", "v"), matrix.shape, strict=True):
            self.register_buffer(name, F.normalize(matrix.new_empty(size).normal_(), dim=0, eps=eps))
        self.iterate(weight, 15)

    @torch.no_grad()
    def iterate(self, weight: Tensor, times: int = 1) -> None:
        """Power iteration: v <- W^T u, u <- W v, each normalised; in the weight's own precision."""
        if weight.is_meta:
            return
        matrix = weight.flatten(1)
        with torch.autocast(matrix.device.type, enabled=False):
            for _ in range(times):
                F.normalize(matrix.T @ self.u, dim=0, eps=self.eps, out=self.v)
                F.normalize(matrix @ self.v, dim=0, eps=self.eps, out=self.u)

    def forward(self, weight: Tensor) -> Tensor:
        """The normalised weight, same shape."""
        if weight.is_meta:
            return weight.clone()
        with torch.autocast(weight.device.type, enabled=False):
            # clones, because u and v may be iterated in place before the backward pass
            sigma = (self.u.clone() * (weight.flatten(1) @ self.v.clone())).sum()
            return weight / sigma


def spectral_norm(module: M) -> M:
    """Put a spectral norm on `module.weight` (a convolution, linear layer or embedding) and return the module."""
    weight = module.get_parameter("weight")
    parametrize.register_parametrization(module, "weight", SpectralNorm(weight), unsafe=True)
    return module


def power_iterate(module: nn.Module) -> None:
    """One power iteration of every spectral norm inside `module`."""
    for child in module.modules():
        if isinstance(child, parametrize.ParametrizationList):
            for parametrization in child:
                if isinstance(parametrization, SpectralNorm):
                    parametrization.iterate(child.original)


class ChannelLayerNorm(nn.GroupNorm):
    """Layer normalisation over (C, H, W) of each image with a gain and a bias per channel, as WGAN-GP's critics use."""

    def __init__(self, channels: int):
        super().__init__(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, ...], in the type of x: on a GPU autocast would give back float32."""
        return super().forward(x).to(x.dtype)


#: By name: makes the layer that follows a convolution of so many channels.
ACTIVATION_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "layer": ChannelLayerNorm,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "spectral": lambda channels: nn.Identity(),
    "none": lambda channels: nn.Identity(),
}
NORMS = tuple(ACTIVATION_NORMS)


def activation_norm(name: str, channels: int) -> nn.Module:
    """The layer that follows a convolution under the norm `name` (see NORMS): identity for spectral and none."""
    return ACTIVATION_NORMS[name](channels)


def weight_norm(name: str, module: M) -> M:
    """`module` with its weight normalised where the norm `name` is one of weights: spectral."""
    return spectral_norm(module) if name == "spectral" else module


# ---- batch norm under a condition -----------------------------------------------------------------------------------


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are linear in a condition: gain = 1 + W_g c, bias = W_b c (BigGAN).

    Args:
        channels: C of the input [B, C, H, W].
        condition: length of the condition c [B, condition], for example class embedding and latent chunk.
        norm: weight norm of W_g and W_b, spectral or none.
    """

    def __init__(self, channels: int, condition: int, norm: str = "spectral"):
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.gain = weight_norm(norm, nn.Linear(condition, channels, bias=False))
        self.bias = weight_norm(norm, nn.Linear(condition, channels, bias=False))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] under condition [B, condition]."""
        return _modulate(self.norm(x), 1 + self.gain(condition), self.bias(condition))


class ClassBatchNorm(nn.Module):
    """Batch norm with a table of gains (initially 1) and biases (initially 0) per class (Dumoulin et al. 2017; SAGAN).

    Args:
        channels: C of the input [B, C, H, W].
        classes: number of classes.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.gain = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise x [B, C, H, W]; the condition is the labels [B], int64."""
        return _modulate(self.norm(x), F.embedding(condition, self.gain), F.embedding(condition, self.bias))


def class_norm(channels: int, classes: int) -> nn.Module:
    """The batch norm of a generator, called with (x, labels): with a gain and a bias per class, or plain for 0."""
    return ClassBatchNorm(channels, classes) if classes else BatchNorm(channels)


class Conditioned(nn.Sequential):
    """Layers one after the other, of which the class-conditional batch norms read the labels too."""

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """What the last layer makes of x under labels [B]."""
        for layer in self:
            x = layer(x, labels) if isinstance(layer, ClassBatchNorm) else layer(x)
        return x


def _modulate(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """x * gain + bias with gain and bias [B, C], in the type of x."""
    gain, bias = gain.to(x.dtype)[:, :, None, None], bias.to(x.dtype)[:, :, None, None]
    return torch.addcmul(bias, x, gain)
