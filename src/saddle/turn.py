"""One player's turn: what objectives, penalties and heads may read of it."""

from __future__ import annotations

from collections.abc import Set
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from saddle.distributed import all_gather
from saddle.networks.discriminator import Verdict
from saddle.randomness import Draws

if TYPE_CHECKING:
    from saddle.models.base import GAN

Player = Literal["discriminator", "generator"]


class Turn:
    """One micro-batch of one player's turn. Each thing is computed when first asked for, then shared by all who ask.

    `real` and `fake` are raw images [b, C, H, W] in [-1, 1]; D sees them through `model.augment`. Logits [B] and
    features [B, F] are gathered from all processes, so that whatever couples samples sees the global batch; a
    `Verdict` and the gradients with respect to images are this process's own b rows.
    """

    def __init__(
        self, model: GAN, player: Player, step: int, micro: int, real: Tensor, real_labels: Tensor, needs: Set[str]
    ):
        self.model, self.player, self.step, self.micro, self.needs = model, player, step, micro, needs
        self.real = real.detach().requires_grad_("real_gradients" in needs)
        self.real_labels = real_labels

    def draws(self, purpose: str) -> Draws:
        """Random numbers for one purpose of this turn."""
        model, stream = self.model, f"{self.player}/{self.step}/{purpose}"
        rows = model.share.rows(self.micro)
        return Draws(model.seed, model.iteration, stream, rows, self.real.device, self.real.dtype)

    @cached_property
    def latents(self) -> Tensor:
        return self.model.draw_latents(self.draws("latents"))

    @cached_property
    def fake_labels(self) -> Tensor:
        return self.model.draw_labels(self.draws("labels"))

    @cached_property
    def fake(self) -> Tensor:
        with torch.set_grad_enabled(self.player == "generator"):
            fake = self.model.generator(self.latents, self.fake_labels).to(self.real.dtype)
        return fake.requires_grad_() if "fake_gradients" in self.needs else fake

    def _seen(self, kind: str) -> tuple[Tensor, Tensor]:
        images, labels = (self.real, self.real_labels) if kind == "real" else (self.fake, self.fake_labels)
        return self.model.augment(images, self.draws(f"augment/{kind}")), labels

    @property
    def _one_pass(self) -> bool:
        return self.player == "discriminator" and self.model.discriminator.independent

    @cached_property
    def _both(self) -> tuple[Verdict, Verdict]:
        (real, real_labels), (fake, fake_labels) = self._seen("real"), self._seen("fake")
        logits, features = self.model.discriminator(torch.cat([real, fake]), torch.cat([real_labels, fake_labels]))
        return Verdict(logits[: len(real)], features[: len(real)]), Verdict(logits[len(real) :], features[len(real) :])

    @cached_property
    def real_verdict(self) -> Verdict:
        return self._both[0] if self._one_pass else self.model.discriminator(*self._seen("real"))

    @cached_property
    def fake_verdict(self) -> Verdict:
        return self._both[1] if self._one_pass else self.model.discriminator(*self._seen("fake"))

    @cached_property
    def real_logits(self) -> Tensor:
        return all_gather(self.real_verdict.logits)

    @cached_property
    def fake_logits(self) -> Tensor:
        return all_gather(self.fake_verdict.logits)

    @cached_property
    def real_features(self) -> Tensor:
        return all_gather(self.real_verdict.features)

    @cached_property
    def fake_features(self) -> Tensor:
        return all_gather(self.fake_verdict.features)
