"""BEGAN: an autoencoder as discriminator, and a controller that keeps the two players in balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddle.errors import InputError
from saddle.losses import Wasserstein
from saddle.models.base import GAN, Reals, Rules
from saddle.turn import Turn


@dataclass(frozen=True)
class Balance(Rules):
    """BEGAN's rules.

    Args:
        gamma: in (0, 1], the ratio L(G(z)) / L(x) of the equilibrium; a small one prefers good images to various ones.
        lambda_k: gain of the controller, 0.001 in the paper.
    """

    gamma: float = 0.5
    lambda_k: float = 0.001


class BEGAN(GAN):
    """Boundary equilibrium GAN (Berthelot et al. 2017, section 3.4).

    L is the error of D's autoencoder, minus its logit. D descends L(x) - k L(G(z)), G descends L(G(z)), and after G's
    step k <- clip(k + lambda_k (gamma L(x) - L(G(z))), 0, 1), from the L(x) of D's last step and the L(G(z)) of G's,
    over the global batch. D thus spends itself on generated images only as far as L(G(z)) stays below gamma L(x).
    Logged: `train/k`, and the convergence measure M = L(x) + |gamma L(x) - L(G(z))| as `train/convergence`.

    Raises:
        InputError: for a head that does not reconstruct, or a loss other than Wasserstein's, which L stands in here.
    """

    rules_type = Balance
    k: Tensor

    def __init__(self, *parts: Any, **more: Any):
        super().__init__(*parts, **more)
        if not self.discriminator.head.reconstructs:
            raise InputError("model=began needs the error of a reconstruction: model/head=began or reconstruction")
        if not isinstance(self.loss, Wasserstein):
            raise InputError(
                "model=began is a game of its own, on the logits of loss=wasserstein; choose no other loss"
            )
        self.register_buffer("k", torch.zeros(()))
        self.errors: dict[str, Tensor] = {}  # L of the last step's real and generated images, over all processes

    def discriminator_step(self, step: int, reals: Reals) -> None:
        """D's step, which measures L(x)."""
        self.errors["real"] = torch.zeros_like(self.k)
        super().discriminator_step(step, reals)

    def generator_step(self, step: int, reals: Reals) -> list[Tensor]:
        """G's step, which measures L(G(z)), and the controller's."""
        self.errors["fake"] = torch.zeros_like(self.k)
        fakes = super().generator_step(step, reals)
        self.balance(self.errors["real"], self.errors["fake"])
        return fakes

    def discriminator_objective(self, turn: Turn) -> Tensor:
        """L(x) - k L(G(z))."""
        self.measure("real", turn.real_logits)
        return self.k * turn.fake_logits.mean() - turn.real_logits.mean()

    def generator_objective(self, turn: Turn) -> Tensor:
        """L(G(z))."""
        self.measure("fake", turn.fake_logits)
        return super().generator_objective(turn)

    def measure(self, kind: str, logits: Tensor) -> None:
        """Add the mean error of one micro-batch of `accumulate` to that of the step."""
        self.errors[kind] = self.errors[kind] - logits.detach().mean() / self.facts.accumulate

    def balance(self, real: Tensor, fake: Tensor) -> None:
        """One step of the controller, from L(x) and L(G(z)), 0-d. Where they are not finite, k stays as it is."""
        surplus = self.rules.gamma * real - fake
        k = (self.k + self.rules.lambda_k * surplus).clamp(0, 1)
        self.k.copy_(torch.where(surplus.isfinite(), k, self.k))
        self.track("k", self.k.clone())
        self.track("convergence", real + surplus.abs())
