"""The controller of ADA and APA: it finds the strength p at which D does not memorise the real images."""

from __future__ import annotations

import torch
from torch import Tensor

from saddle.augment import Augment


class Adaptive(Augment):
    """An augmentation of strength p, which follows how sure D is of the real images (Karras et al. 2020b, section 3.2).

    After every `every` steps of D, p goes up by (real images seen) / (1000 kimg) where the mean sign of D's real logits
    in that time is above `target`, else down; so it can go from 0 to 1 in `kimg` thousand images. The sign is that of
    the logit above the boundary between real and generated of the loss: 0 in the papers, whose loss is the
    non-saturating one; half way between the two means for losses that know logits up to a constant only.

    Args:
        p: the strength at the start, in [0, 1].
        adaptive: let the controller act; else p stays as it is set.
        target: 0.6 in the papers.
        kimg: 500 in the papers, 100 for transfer learning.
        every: D steps between two changes of p; 4 in the papers.

    Attributes:
        p: the strength, a buffer.
    """

    p: Tensor
    signs: Tensor
    logits: Tensor
    images: Tensor
    steps: Tensor

    def __init__(self, p: float = 0.0, adaptive: bool = True, target: float = 0.6, kimg: float = 500.0, every: int = 4):
        super().__init__()
        self.adaptive, self.target, self.kimg, self.every = adaptive, target, kimg, every
        self.register_buffer("p", torch.tensor(float(p)))
        # since the last change of p: the sum of the signs, how many logits, real images and steps
        for name in ("signs", "logits", "images", "steps"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        """Add the signs of D's logits of real images [B], all processes', from the boundary; not finite counts 0.

        Returns:
            `p`, the strength.
        """
        self.signs += real_logits.sign().nan_to_num(0.0).sum()
        self.logits += real_logits.numel()
        return {"p": self.p.clone()}  # a copy, which the controller does not change

    @torch.no_grad()
    def after_step(self, images: int) -> None:
        """After a step of D on so many real images over all processes: change p when it is time. Waits for nothing."""
        self.steps += 1
        self.images += images
        due = (self.steps >= self.every).to(self.p.dtype)
        if self.adaptive:
            direction = (self.signs / self.logits.clamp(min=1) - self.target).sign()
            self.p.add_(due * direction * self.images / (1000 * self.kimg)).clamp_(min=0)
        for total in (self.signs, self.logits, self.images, self.steps):
            total.mul_(1 - due)
