"""Adversarial objectives: what the discriminator and the generator minimise, as functions of logits.

Notation: r = C(x) are the logits of real images, f = C(G(z)) those of generated ones, before any sigmoid; sp is
softplus, log(1 + e^x). Logits come as float32 or float64 tensors [B] of the whole global batch, losses are batch means
as 0-d tensors. The discriminator's loss is the sum of its real and its fake term (not their mean), so at zero logits
the non-saturating loss is 2 log 2.

A new objective is one class here and one file under conf/loss/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(ABC):
    """An objective: two pure functions of logits."""

    #: Whether `generator` needs the logits of real images too.
    reads_real: ClassVar[bool] = False

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What D minimises, from the logits [B] of real and of generated images."""

    @abstractmethod
    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """What G minimises, from the logits [B] of its images; `real` is given where `reads_real` says so."""

    def boundary(self, real: Tensor, fake: Tensor) -> Tensor | float:
        """The logit above which D says real; D's accuracy, which is logged, counts from it."""
        return 0.0


@dataclass(frozen=True)
class NonSaturating(Loss):
    """The non-saturating loss (Goodfellow et al. 2014, section 3).

    D: E sp(-r) + E sp(f), G: E sp(-f). At the optimum D's logit is log p_data(x) - log p_G(x), and D's loss is
    2 log 2 - 2 JS(p_data, p_G).
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return F.softplus(-fake).mean()


@dataclass(frozen=True)
class LeastSquares(Loss):
    """The least-squares loss (Mao et al. 2017, equation 2), without a sigmoid.

    D: E (r - b)^2 / 2 + E (f - a)^2 / 2, G: E (f - c)^2 / 2. At the optimum D is (b p_data + a p_G) / (p_data + p_G).

    Args:
        a: D's target for generated images.
        b: D's target for real images.
        c: what G wants D to say of its images; b - c = 1 and b - a = 2 make G minimise Pearson's chi-squared
            divergence of p_data + p_G from 2 p_G.
    """

    a: float = 0.0
    b: float = 1.0
    c: float = 1.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - self.b).square().mean() + (fake - self.a).square().mean()) / 2

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return (fake - self.c).square().mean() / 2

    def boundary(self, real: Tensor, fake: Tensor) -> float:
        """Half way between the two targets."""
        return (self.a + self.b) / 2


@dataclass(frozen=True)
class Wasserstein(Loss):
    """The Wasserstein loss (Arjovsky et al. 2017, equation 2).

    Critic: E f - E r, G: -E f. The critic must be kept Lipschitz by a penalty, clipping or spectral norm; the negated
    critic loss then estimates K times the Wasserstein-1 distance, K being the Lipschitz constant.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()

    def boundary(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half way between the two means: a critic's scale has no zero."""
        return (real.mean() + fake.mean()) / 2


@dataclass(frozen=True)
class Hinge(Loss):
    """The hinge loss (Lim and Ye 2017, Geometric GAN; used by SNGAN, SAGAN and BigGAN).

    D: E max(0, 1 - r) + E max(0, 1 + f), G: -E f. At the optimum D is sign(p_data - p_G), and D's loss is
    2 (1 - TV(p_data, p_G)).
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()
