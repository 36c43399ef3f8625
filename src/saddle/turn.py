"""One player's turn: what objectives, penalties and heads may read of it."""

from __future__ import annotations

from collections.abc import Set
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from saddle.distributed import all_gather
from saddle.networks.discriminator import Verdict
from saddle.randomness import Both, Draws, layer_noise_from

if TYPE_CHECKING:
    from saddle.models.base import GAN

Player = Literal["discriminator", "generator"]


class Turn:
    """One micro-batch of one player's turn. Each thing is computed when first asked for, then shared by all who ask.

    `real` and `fake` are raw images [b, C, H, W] in [-1, 1]; D sees them through `model.augment`. Logits [B] and
    features [B, F] are gathered from all processes, so that whatever couples samples sees the global batch; a
    `Verdict` and the gradients with respect to images are this process's own rows.
    """

    def __init__(
        self, model: GAN, player: Player, step: int, micro: int, real: Tensor, real_labels: Tensor, needs: Set[str]
    ):
        self.model, self.player, self.step, self.micro, self.needs = model, player, step, micro, needs
        self.discriminator = model.discriminator
        self.real, self.real_labels = real, real_labels
        shown = model.augment.reals(self) if player == "discriminator" else real
        self.real = shown.detach().requires_grad_("real_gradients" in needs)

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
        return self.model.draw_labels(self)

    @cached_property
    def fake(self) -> Tensor:
        with torch.set_grad_enabled(self.player == "generator"):
            fake = self.generate(self.latents, self.fake_labels, "fake")
        return fake.requires_grad_() if "fake_gradients" in self.needs else fake

    def generate(self, latents: Tensor, labels: Tensor, purpose: str) -> Tensor:
        """G's images of latents; `purpose` names the stream of the noise inside its layers."""
        with layer_noise_from(self.draws(f"generator/{purpose}")):
            return self.model.make_images(self, latents, labels, purpose).to(self.real.dtype)

    def judge(self, images: Tensor, labels: Tensor, purpose: str) -> Verdict:
        """D's verdict on images, seen through the augmentation; `purpose` names the stream of its random numbers."""
        with layer_noise_from(self.draws(f"discriminator/{purpose}")):
            return self.discriminator(self.model.augment(images, self.draws(f"augment/{purpose}")), labels)

    @cached_property
    def _verdicts(self) -> tuple[Verdict, Verdict]:
        """Both verdicts of one pass, which costs less than two: real and generated images in one batch."""
        pair = [(self.real, self.real_labels, "real"), (self.fake, self.fake_labels, "fake")]
        seen = torch.cat([self.model.augment(images, self.draws(f"augment/{kind}")) for images, _, kind in pair])
        noise = Both(*(self.draws(f"discriminator/{kind}") for *_, kind in pair))
        with layer_noise_from(noise):
            verdict = self.discriminator(seen, torch.cat([self.real_labels, self.fake_labels]))
        (real, fake), (real_features, fake_features) = verdict.logits.chunk(2), verdict.features.chunk(2)
        return Verdict(real, real_features), Verdict(fake, fake_features)

    def _verdict(self, index: int, images: Tensor, labels: Tensor, purpose: str) -> Verdict:
        if self.player == "discriminator" and self.model.discriminator.independent:
            return self._verdicts[index]
        return self.judge(images, labels, purpose)

    real_verdict = cached_property(lambda self: self._verdict(0, self.real, self.real_labels, "real"))
    fake_verdict = cached_property(lambda self: self._verdict(1, self.fake, self.fake_labels, "fake"))
    real_logits = cached_property(lambda self: all_gather(self.real_verdict.logits))
    fake_logits = cached_property(lambda self: all_gather(self.fake_verdict.logits))
    real_features = cached_property(lambda self: all_gather(self.real_verdict.features))
    fake_features = cached_property(lambda self: all_gather(self.fake_verdict.features))
