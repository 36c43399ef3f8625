"""One player's turn: what objectives, penalties, augmentations and heads may read of it, and the game it is part of."""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from saddle.distributed import Share, all_gather
from saddle.prior import Prior
from saddle.randomness import Concatenated, Draws, Numbers, call_with_noise

Player = Literal["discriminator", "generator"]


class Verdict(NamedTuple):
    """What a discriminator says of a batch: logits [B] in float32 at least, features [B, F] they were read from."""

    logits: Tensor
    features: Tensor


class MicroBatch(NamedTuple):
    """A part of the real images of one update: [b, C, H, W] in [-1, 1] and labels [b].

    `fake` are images of G that the turn is about, where it makes none itself.
    """

    images: Tensor
    labels: Tensor
    fake: Tensor | None = None


class Judge(Protocol):
    """What a turn asks of a discriminator. `saddle.discriminator.Discriminator` is one, a simulated one another."""

    @property
    def independent(self) -> bool:
        """Whether samples do not influence each other."""

    @property
    def packing(self) -> int:
        """Images that get one logit together."""

    @property
    def head(self) -> Any:
        """Whose `loss(turn)` joins the player's loss."""

    @property
    def __call__(self) -> Callable[[Tensor, Tensor], Verdict]:
        """Images [B, C, H, W] in [-1, 1] and labels [B] (int64) to a verdict of B / packing rows."""

    @property
    def forward(self) -> Callable[[Tensor, Tensor], Verdict]:
        """The same, never compiled."""


class View(Protocol):
    """How D sees images: an augmentation, see `saddle.augment.Augment`."""

    @property
    def __call__(self) -> Callable[[Tensor, Draws], Tensor]:
        """Images [b, C, H, W] in [-1, 1] to what D sees of them, same shape."""

    def reals(self, turn: Turn) -> Tensor:
        """What D is told is real in its own turn, [b, C, H, W]."""


class Game(Protocol):
    """What a turn is part of, and all that penalties, augmentations and heads know of it; `GAN` is one.

    Attributes:
        generator: latents [B, dim] and labels [B] to images [B, C, H, W] in [-1, 1].
        discriminator: images and labels to a `Verdict`.
        augment: what D sees of images.
        prior: of latents and labels.
        seed: of every random number.
        iteration: finished iterations.
        share: this process's part of the global batch.
    """

    @property
    def generator(self) -> nn.Module: ...
    @property
    def discriminator(self) -> Judge: ...
    @property
    def augment(self) -> View: ...
    @property
    def prior(self) -> Prior: ...

    seed: int
    iteration: int
    share: Share

    def track(self, name: str, value: Tensor) -> None:
        """Add a 0-d tensor to the running mean that is logged as ``train/<name>``."""


class Turn:
    """One micro-batch of one player's turn. Each thing is computed when first asked for, then shared by all who ask.

    `real` and `fake` are raw images [b, C, H, W] in [-1, 1]; D sees them through `game.augment`. Logits [B] and
    features [B, F] are gathered from all processes, so that whatever couples samples sees the global batch; a
    `Verdict` and the gradients with respect to images are this process's own rows.

    Args:
        game: the game.
        player: whose turn it is.
        step: the number of steps that the player has behind it.
        micro: number of the micro-batch, from 0.
        batch: its real images.
        needs: what penalties want prepared, see `saddle.penalties.Penalty.needs`.
    """

    def __init__(self, game: Game, player: Player, step: int, micro: int, batch: MicroBatch, needs: Set[str]):
        self.game, self.player, self.step, self.micro, self.batch, self.needs = game, player, step, micro, batch, needs
        self.real, self.real_labels = batch.images, batch.labels
        shown = game.augment.reals(self) if player == "discriminator" else self.real
        self.real = shown.detach().requires_grad_("real_gradients" in needs)

    def draws(self, purpose: str) -> Draws:
        """Random numbers for one purpose of this turn."""
        game, stream = self.game, f"{self.player}/{self.step}/{purpose}"
        return Draws(game.seed, game.iteration, stream, game.share.rows[self.micro], self.real.device, self.real.dtype)

    # ---- what G makes -------------------------------------------------------------------------------------------

    @cached_property
    def latents(self) -> Tensor:
        """What G makes its images of, [b, dim]."""
        return self.game.prior.draw(self.draws("latents"))

    @cached_property
    def fake_labels(self) -> Tensor:
        """Labels of G's images, int64 [b]; zeros without classes."""
        prior = self.game.prior
        return self.real_labels if prior.labels == "real" else self.draws("labels").integers(max(prior.classes, 1))

    @cached_property
    def fake(self) -> Tensor:
        """G's images, with a graph through G in G's own turn only."""
        with torch.set_grad_enabled(self.player == "generator"):
            fake = self.generate(self.latents, self.fake_labels, "fake")
        return fake.requires_grad_() if "fake_gradients" in self.needs else fake

    def generate(self, latents: Tensor, labels: Tensor, purpose: str) -> Tensor:
        """G's images of latents; `purpose` names the stream of the noise inside its layers."""
        network, options = self.game.generator, self.options(purpose)
        make = network.forward if latents.requires_grad else network  # see `_ask`
        return call_with_noise(self.draws(f"generator/{purpose}"), make, latents, labels, **options).to(self.real.dtype)

    def options(self, purpose: str) -> dict[str, Any]:
        """What G is given beside latents and labels; `purpose` names the random streams."""
        return {}

    # ---- what D says --------------------------------------------------------------------------------------------

    @cached_property
    def discriminator(self) -> Judge:
        """The D of this turn."""
        return self.game.discriminator

    def judge(self, images: Tensor, labels: Tensor, purpose: str) -> Verdict:
        """D's verdict on images, seen through the augmentation; `purpose` names the stream of its random numbers."""
        seen = self.game.augment(images, self.draws(f"augment/{purpose}"))
        return self._ask(seen, labels, self.draws(f"discriminator/{purpose}"))

    def _ask(self, images: Tensor, labels: Tensor, noise: Numbers) -> Verdict:
        """D's verdict on what it sees, with noise for its layers.

        A compiled network (compile=true) cannot be differentiated twice. D's own turn has a gradient at its images only
        for a penalty, which becomes part of the loss: then the network is called as it was before it was compiled.
        """
        twice = images.requires_grad and (self.player == "discriminator" or "fake_gradients" in self.needs)
        judge = self.discriminator.forward if twice else self.discriminator
        return call_with_noise(noise, judge, images, labels)

    @cached_property
    def _verdicts(self) -> tuple[Verdict, Verdict]:
        """Both verdicts of one pass, which costs less than two: real and generated images in one batch."""
        pair = [(self.real, self.real_labels, "real"), (self.fake, self.fake_labels, "fake")]
        seen = torch.cat([self.game.augment(images, self.draws(f"augment/{kind}")) for images, _, kind in pair])
        noise = Concatenated(self.draws("discriminator/real"), self.draws("discriminator/fake"))
        verdict = self._ask(seen, torch.cat([self.real_labels, self.fake_labels]), noise)
        (real, fake), (real_features, fake_features) = verdict.logits.chunk(2), verdict.features.chunk(2)
        return Verdict(real, real_features), Verdict(fake, fake_features)

    @cached_property
    def _together(self) -> bool:
        """Whether D sees both kinds of images in one pass: in its own turn, where none changes another's verdict."""
        return self.player == "discriminator" and self.discriminator.independent

    @cached_property
    def real_verdict(self) -> Verdict:
        """Of this process's real images."""
        return self._verdicts[0] if self._together else self.judge(self.real, self.real_labels, "real")

    @cached_property
    def fake_verdict(self) -> Verdict:
        """Of this process's generated images."""
        return self._verdicts[1] if self._together else self.judge(self.fake, self.fake_labels, "fake")

    real_logits = cached_property(lambda self: all_gather(self.real_verdict.logits))
    fake_logits = cached_property(lambda self: all_gather(self.fake_verdict.logits))
    real_features = cached_property(lambda self: all_gather(self.real_verdict.features))
    fake_features = cached_property(lambda self: all_gather(self.fake_verdict.features))
