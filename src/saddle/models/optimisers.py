"""How the players learn: their optimisers, and the numbers of these that change during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda p, lr, beta1, beta2, eps: torch.optim.Adam(p, lr, (float(beta1), float(beta2)), eps, fused=True),
    "rmsprop": lambda p, lr, beta1, beta2, eps: torch.optim.RMSprop(p, lr, alpha=float(beta2), eps=eps),
    "sgd": lambda p, lr, beta1, beta2, eps: torch.optim.SGD(p, lr, momentum=float(beta1), fused=True),
}


@dataclass
class Optimisers:
    """The optimisers of both players. Set a number, then call `renew`.

    Args:
        name: "adam", "rmsprop" (beta2 is its smoothing constant) or "sgd" (beta1 is its momentum).
        g_lr, d_lr: learning rates of G and D.
        beta1, beta2, eps: constants of the optimiser.
        gradient_clip_val: the norm to which the gradient of each player is cut; None: it is not.

    Attributes:
        factor: of both learning rates, beside what they are set to.
        made: the optimisers, by player.
    """

    SETTABLE: ClassVar[tuple[str, ...]] = ("g_lr", "d_lr", "beta2")  # by a schedule

    name: str = "adam"
    g_lr: float = 2e-4
    d_lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    eps: float = 1e-8
    gradient_clip_val: float | None = None
    factor: float = field(default=1.0, init=False)
    made: dict[str, torch.optim.Optimizer] = field(default_factory=dict, init=False, repr=False)

    def rate(self, player: str) -> float:
        """The present learning rate of "generator" or "discriminator"."""
        return self.factor * (self.g_lr if player == "generator" else self.d_lr)

    def make(self, networks: Mapping[str, nn.Module]) -> list[torch.optim.Optimizer]:
        """An optimiser for the network of each player, in their order."""
        constants = self.beta1, self.beta2, self.eps
        self.made = {
            player: OPTIMISERS[self.name](list(network.parameters()), self.rate(player), *constants)
            for player, network in networks.items()
        }
        return [*self.made.values()]

    def renew(self) -> None:
        """Give the optimisers the learning rates and constants that are set now."""
        for player, optimiser in self.made.items():
            for group in optimiser.param_groups:
                group["lr"] = self.rate(player)
                if "betas" in group:
                    group["betas"] = (group["betas"][0], self.beta2)
                if "alpha" in group:  # RMSprop's
                    group["alpha"] = self.beta2

    def clip(self, optimiser: torch.optim.Optimizer) -> None:
        """Cut the gradient that a player is about to learn from; that of another optimiser stays."""
        if self.gradient_clip_val is not None and optimiser in self.made.values():
            gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(gradients, clip_factor(gradients, self.gradient_clip_val))

    def forget(self) -> None:
        """Drop the moments."""
        for optimiser in self.made.values():
            optimiser.state.clear()


def clip_factor(gradients: list[Tensor], limit: float) -> Tensor:
    """What makes the norm of all gradients together at most `limit` (Pascanu et al. 2013), 0-d and at most 1."""
    return (limit / torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))).clamp(max=1.0)
