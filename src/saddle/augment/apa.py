"""Adaptive pseudo augmentation (Jiang, Dai, Wu and Loy 2021): G's own images among those that D is told are real."""

from __future__ import annotations

import torch
from torch import Tensor

from saddle.augment.adaptive import Adaptive
from saddle.turn import Turn


class APA(Adaptive):
    """In D's turn, each real image is replaced by a generated one with probability p, so that D cannot be too sure.

    All that D's turn does with real images is done with the mixture, penalties too, as in the authors' code. There the
    generated images are those of G's last step; here they are new ones, of the labels of the images that they replace,
    which costs a pass of G without a gradient in each step of D. G's turn has the real images.

    Args: those of `Adaptive`.
    """

    @torch.no_grad()
    def reals(self, turn: Turn) -> Tensor:
        """Real images, some of them pseudo-real, [b, C, H, W]."""
        draws = turn.draws("pseudo")
        chosen = draws.uniform(1, 1, 1) < self.p
        latents = turn.game.prior.draw(turn.draws("pseudo/latents"))
        return torch.where(chosen, turn.generate(latents, turn.real_labels, "pseudo"), turn.real)
