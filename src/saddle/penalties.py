"""Regularisers: small modules that read a `Turn` and return a term of their player's loss. They never step.

A new regulariser is one class here and one file under conf/penalty/, keyed by its own name. `penalty=[a,b]` on the
command line replaces the model's list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from saddle.distributed import all_reduce, world_size
from saddle.errors import InputError
from saddle.networks.discriminator import wide
from saddle.turn import Player, Turn

if TYPE_CHECKING:
    from saddle.models.base import GAN


def input_gradients(logits: Tensor, images: Tensor) -> Tensor:
    """The gradient of each logit with respect to its own image, [b, C, H, W], kept in the graph."""
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients


class Penalty(nn.Module):
    """A term of one player's loss.

    Args:
        weight: factor of the term.
        every: lazy regularisation: the term is computed on every k-th step of its player, times k, so that its mean
            over steps is that of a term on every step (Karras et al. 2020, section 3.1). It is added to the player's
            loss, not given an optimiser step of its own, so the optimiser needs no correction.
    """

    #: Whose loss the term belongs to.
    player: ClassVar[Player] = "discriminator"
    #: What the turn must prepare: "real_gradients", "fake_gradients" (input gradients at real or generated images).
    needs: ClassVar[frozenset[str]] = frozenset()
    #: The network that the term differentiates twice, if it does.
    twice: ClassVar[Player | None] = None

    def __init__(self, weight: float = 1.0, every: int = 1):
        super().__init__()
        if every < 1:
            raise InputError(f"penalty.{type(self).__name__}.every={every}: give 1 or more steps")
        self.weight, self.every = weight, every

    def due(self, step: int) -> bool:
        """Whether the term is part of the player's step number `step`, counted from 0."""
        return step % self.every == 0

    def forward(self, turn: Turn) -> Tensor | None:
        """The weighted term as a 0-d tensor; None from a constraint that only acts in `after_step`."""
        return None

    def after_step(self, model: GAN) -> None:
        """Act on the parameters after the player's optimiser step."""


class R1(Penalty):
    """Zero-centred gradient penalty on real images: weight / 2 * E ||grad_x C(x)||^2 (Mescheder et al. 2018).

    The gradient is taken with respect to the images before augmentation. `weight` is the paper's gamma.
    """

    needs = frozenset({"real_gradients"})
    twice = "discriminator"

    def __init__(self, weight: float = 10.0, every: int = 1):
        super().__init__(weight, every)

    def forward(self, turn: Turn) -> Tensor:
        """The term at the turn's real images."""
        gradients = input_gradients(turn.real_verdict.logits, turn.real)
        return self.weight / 2 * gradients.square().flatten(1).sum(1).mean()


class LeCam(Penalty):
    """Keeps each kind of logit near the other's moving average (Tseng et al. 2021, equation 5).

    weight * (E max(0, r - a_f)^2 + E max(0, a_r - f)^2); a_r and a_f average the means of r and f.

    Args:
        weight: 0.3 for BigGAN on CIFAR.
        decay: of the moving averages.
        start: D steps before the term acts; the averages follow from the beginning.
    """

    real_average: Tensor
    fake_average: Tensor

    def __init__(self, weight: float = 0.3, every: int = 1, decay: float = 0.99, start: int = 1000):
        super().__init__(weight, every)
        self.decay, self.start = decay, start
        self.register_buffer("real_average", torch.zeros(()))
        self.register_buffer("fake_average", torch.zeros(()))

    def forward(self, turn: Turn) -> Tensor:
        """The term for the turn's logits, which then enter the averages."""
        real, fake = turn.real_logits, turn.fake_logits
        with torch.no_grad():
            for average, logits in ((self.real_average, real), (self.fake_average, fake)):
                first = turn.step == 0 and turn.micro == 0
                follow(average, logits.mean(), 1.0 if first else 1 - self.decay)
        if turn.step < self.start:
            return real.new_zeros(())
        # the averages enter as values: a copy, because the next turn changes them in place
        over = torch.relu(real - self.fake_average.clone()).square().mean()
        under = torch.relu(self.real_average.clone() - fake).square().mean()
        return self.weight * (over + under)


class WeightClip(Penalty):
    """Clamps every weight of D to [-limit, limit] after each of its steps (Arjovsky et al. 2017, algorithm 1)."""

    def __init__(self, limit: float = 0.01):
        super().__init__()
        if limit <= 0:
            raise InputError(f"penalty.weight_clip.limit={limit}: give a positive number")
        self.limit = limit

    @torch.no_grad()
    def after_step(self, model: GAN) -> None:
        """Clamp in place."""
        for parameter in model.discriminator.parameters():
            parameter.clamp_(-self.limit, self.limit)


class FeatureMatching(Penalty):
    """||E phi(x) - E phi(G(z))||^2 of D's features, a term of G (Salimans et al. 2016, section 3.1)."""

    player = "generator"

    def forward(self, turn: Turn) -> Tensor:
        """The term over the global batch."""
        target = wide(turn.real_features.detach()).mean(0)
        return self.weight * (wide(turn.fake_features).mean(0) - target).square().sum()


class PathLength(Penalty):
    """Path-length regularisation of G (Karras et al. 2020, equation 4): weight * E (||J^T y|| - a)^2.

    J is the Jacobian of an image with respect to its latent, y ~ N(0, 1) / sqrt(H W), and a the moving average of the
    lengths.

    Args:
        weight: 2 in the paper.
        every: 4 in the paper.
        decay: of the moving average, as the weight of the newest mean (0.01 in the paper).
    """

    player = "generator"
    twice = "generator"
    average: Tensor

    def __init__(self, weight: float = 2.0, every: int = 4, decay: float = 0.01):
        super().__init__(weight, every)
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))

    def forward(self, turn: Turn) -> Tensor:
        """The term at fresh latents; the mean length then enters the average."""
        latents = turn.model.draw_latents(turn.draws("path_length/latents")).requires_grad_()
        images = turn.model.generator(latents, turn.fake_labels)
        noise = turn.draws("path_length/noise").normal(*images.shape[1:]) / (images.shape[2] * images.shape[3]) ** 0.5
        (gradients,) = torch.autograd.grad((images * noise).sum(), latents, create_graph=True)
        lengths = gradients.square().sum(1).sqrt()
        with torch.no_grad():
            mean = all_reduce(lengths.mean()) / world_size()
            follow(self.average, mean, self.decay)
        return self.weight * (lengths - self.average.clone()).square().mean()


class Orthogonal(Penalty):
    """weight * sum over weights of ||W W^T * (1 - I)||_F^2 on G's convolutions and linear layers (Brock et al. 2019).

    Only the off-diagonal products, so the filters' norms stay free. Embeddings are left out: a class embedding need
    not be orthogonal. W is the raw weight as a matrix (out, rest), before any spectral norm.
    """

    player = "generator"

    def __init__(self, weight: float = 1e-4, every: int = 1):
        super().__init__(weight, every)

    def forward(self, turn: Turn) -> Tensor:
        """The term of the turn's generator."""
        total = turn.real.new_zeros(())
        for module in turn.model.generator.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                normed = parametrize.is_parametrized(module, "weight")
                raw: Any = module.get_submodule("parametrizations.weight") if normed else None
                weight = raw.original if normed else module.weight
                # rows are output channels; a transposed convolution keeps them in its second axis
                weight = weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight
                matrix = weight.flatten(1)
                with torch.autocast(matrix.device.type, enabled=False):  # bfloat16 would drown small products
                    gram = matrix @ matrix.T
                    total = total + (gram - gram.diagonal().diag()).square().sum()
        return self.weight * total


def follow(average: Tensor, value: Tensor, weight: float) -> None:
    """Move a 0-d moving average towards `value` in place; what is not finite is ignored."""
    new = average.lerp(value.to(average.dtype), weight)
    average.copy_(torch.where(new.isfinite(), new, average))
