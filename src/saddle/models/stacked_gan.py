"""The Stacked GAN of Huang et al. 2017 (SGAN): generators that invert a classifier level by level. Not StackGAN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.distributed import all_gather
from saddle.errors import InputError
from saddle.heads.stacked import Level
from saddle.models.base import GAN, Reals, Rules, frozen
from saddle.models.optimisers import Optimisers
from saddle.networks.stacked import Encoder, FeatureDiscriminator, Generator
from saddle.precision import at_least_float32
from saddle.randomness import call_with_noise
from saddle.turn import Turn

Stage = Literal["encoder", "independent", "joint"]
STAGES: tuple[Stage, ...] = ("encoder", "independent", "joint")
LEVELS = ("features", "images")

#: Steps of G for one of D where D's loss is above a limit (the authors' code for CIFAR-10), and where it is below all.
LIMITS = ((0.65, 1), (0.5, 3), (0.3, 5))
MOST = 7


@dataclass
class Made:
    """What both levels made in a turn.

    Attributes:
        real: the encoder's features of the real images, [b, F].
        features: G1's, [b, F].
        given: the features that G0 was given, [b, F]: real ones in independent training, else G1's.
        noises: z1 and z0.
        images: G0's, [b, C, H, W].
    """

    real: Tensor
    features: Tensor
    given: Tensor
    noises: tuple[Tensor, Tensor]
    images: Tensor


@dataclass(frozen=True)
class Stacking(Rules):
    """The Stacked GAN's rules.

    Args:
        encoder_iterations: of the first stage.
        independent_iterations: of the second stage.
        adversarial, condition, entropy: the weights of the three terms.
        d_adversarial: that of the adversarial loss in D's turn.
        joint: factor of the image level's gradient on its way into G1.
        adaptive: several steps of G after one of D where D is strong: 1, 3, 5 or 7 as half of D's adversarial loss is
            above 0.65, 0.5, 0.3 or below; level by level in independent training, in joint training both as often as
            the images' D says, as in the authors' code.
        channels, resolution: of the images.
        features: F, length of the encoder's feature vectors.
        hidden: units of the hidden layers of D1.
        blur: standard deviation of the noise on the features that D1 sees.
        encoder_width: channels of the encoder's first layer.
        encoder_lr: its learning rate (Adam).
    """

    encoder_iterations: int = 1000
    independent_iterations: int = 10000
    adversarial: float = 1.0
    d_adversarial: float = 1.0
    condition: float = 1.0
    entropy: float = 10.0
    joint: float = 0.01
    adaptive: bool = False
    channels: int = 3
    resolution: int = 32
    features: int = 256
    hidden: int = 512
    blur: float = 0.2
    encoder_width: int = 64
    encoder_lr: float = 1e-3


class LevelTurn(Turn):
    """A turn in which both levels draw; its images are those of the lower level."""

    @property
    def stacked(self) -> StackedGAN:
        """The game."""
        assert isinstance(self.game, StackedGAN)
        return self.game

    @cached_property
    def made(self) -> Made:
        """What both levels make of the turn's latents and labels."""
        game, generator = self.stacked, self.stacked.generator
        assert isinstance(generator, Generator)
        with torch.no_grad():
            real = game.encoder.features(self.real).to(self.real.dtype)
        with torch.set_grad_enabled(self.player == "generator"):
            noises = generator.split(self.latents)
            features = generator.upper(self.fake_labels, noises[0]).to(self.real.dtype)
            given = real if game.stage == "independent" else damped(features, game.rules.joint)
            images = generator.lower(given, noises[1]).to(self.real.dtype)
        return Made(real, features, given, noises, images)

    @cached_property
    def fake(self) -> Tensor:
        """The images of the lower level."""
        return self.made.images.requires_grad_() if "fake_gradients" in self.needs else self.made.images


class StackedGAN(GAN):
    """G1 draws the features of a label, G0 the image of features; the features are those of a trained classifier E.

    With levels i = 1 (features) and 0 (images), h_2 the label, h_1 = E0(x) and h_0 = x, each G_i descends (the paper's
    equations 3 to 6; means over batch and entries)

        adversarial * L(D_i(h^_i)) + condition * d(E_i(h^_i), h_(i+1)) + entropy * |Q_i(h^_i) - z_i|^2,

    where L is the generator's function of `loss`, d is the cross-entropy at the label and the squared difference at the
    features, and the last term is -log Q_i(z_i | h^_i) but for constants. D_i descends the discriminator's function of
    `loss`, and with Q_i the entropy term; with class logits also the cross-entropy of real ones (see `Level`). The
    labels are those of the real images of the batch.

    A run has three stages: the encoder alone learns to classify, for `encoder_iterations`; then each G_i learns on its
    own from real h_(i+1), for `independent_iterations`; then G0 draws from what G1 made, and the gradient of the image
    level's loss flows on into G1, times `joint`. `train/stage` is 0, 1, 2. The moving average of G begins with its
    training.

    Raises:
        InputError: for other networks, packed images, or data without labels.
    """

    turn_type = LevelTurn
    rules_type = Stacking

    def __init__(self, *parts: Any, **more: Any):
        super().__init__(*parts, **more)
        generator, head, rules = self.generator, self.discriminator.head, self.rules
        if not isinstance(generator, Generator) or not isinstance(head, Level):
            raise InputError("model=stacked_gan has a generator and a head of its own: leave both as they are")
        if self.discriminator.packing > 1:
            raise InputError(
                f"model.packing={self.discriminator.packing}: noise is guessed of single images; leave it 1"
            )
        self.prior = replace(self.prior, labels="real")  # whose features both levels start from
        classes, noise = self.prior.classes, generator.latent_dim - generator.image_noise
        self.encoder = Encoder(rules.channels, rules.resolution, rules.encoder_width, rules.features, classes)
        self.class_logits = head.class_logits
        self.discriminator.feature_level = FeatureDiscriminator(
            rules.features, noise, rules.hidden, rules.blur, classes if self.class_logits else 0
        )
        self.ema.start += rules.encoder_iterations
        self._active: frozenset[str] = frozenset(LEVELS)  # the levels that G's present step trains
        self._d_losses: dict[str, Tensor] = {}  # adversarial, of D's last step

    @property
    def stage(self) -> Stage:
        """What the next iteration trains; a function of the iteration alone."""
        since = self.iteration - self.rules.encoder_iterations
        if since < 0:
            return "encoder"
        return "independent" if since < self.rules.independent_iterations else "joint"

    @property
    def conditional(self) -> bool:
        """Images of a class can be asked for."""
        return True

    # ---- the steps --------------------------------------------------------------------------------------------------

    def play(self, updates: Iterator[Reals]) -> None:
        """The steps of one iteration of the present stage."""
        self.track("stage", torch.tensor(float(STAGES.index(self.stage)), device=self.device))
        if self.stage != "encoder":
            return super().play(updates)
        for reals in updates:
            self.encoder_step(reals)

    def encoder_step(self, reals: Reals) -> None:
        """The encoder descends the cross-entropy of real images."""
        optimizers: Any = self.optimizers()
        optimizer = optimizers[2]
        tracked = self.begin_step(optimizer)
        for batch in reals:
            logits = self.encoder(batch.images)
            loss = self.term("encoder_loss", F.cross_entropy(logits, batch.labels))
            self.track("encoder_accuracy", (logits.argmax(1) == batch.labels).to(logits.dtype).mean())
            self.manual_backward(loss / self.facts.accumulate)
        parameters: dict[str, Tensor] = {f"encoder.{name}": p for name, p in self.encoder.named_parameters()}
        self.end_step(optimizer, parameters, tracked, "encoder_grad_norm")

    def discriminator_step(self, step: int, reals: Reals) -> None:
        """Both discriminators step."""
        self._d_losses = {}
        super().discriminator_step(step, reals)

    def generator_step(self, step: int, reals: Reals) -> list[Tensor]:
        """Both generators step, more often where `adaptive` and D's loss say so; E stays as it is."""
        counts = {level: self.updates("images" if self.stage == "joint" else level) for level in LEVELS}
        fakes: list[Tensor] = []
        with frozen(self.encoder):
            for k in range(max(counts.values())):
                self._active = frozenset(level for level in LEVELS if counts[level] > k)
                fakes = super().generator_step(step * (MOST if self.rules.adaptive else 1) + k, reals)
        return fakes

    def updates(self, level: str) -> int:
        """How often a level's generator steps after D's last step."""
        if not self.rules.adaptive:
            return 1
        loss = float(self._d_losses[level]) / 2  # the mean of its real and its fake term, as in the authors' code
        return next((steps for limit, steps in LIMITS if loss > limit), MOST)

    # ---- the objectives ---------------------------------------------------------------------------------------------

    def discriminator_objective(self, turn: Turn) -> Tensor:
        """Adversarial loss and entropy term of both levels."""
        assert isinstance(turn, LevelTurn)
        made = turn.made
        real, _, scores = self.judge_features(turn, made.real, "real")
        fake, guess, _ = self.judge_features(turn, made.features, "fake")
        adversarial = {
            "features": self.loss.discriminator(real, fake),
            "images": self.loss.discriminator(turn.real_logits, turn.fake_logits),
        }
        guesses = {"features": guess, "images": self.guess_image_noise(turn)}
        total = turn.real.new_zeros(())
        for level, noise in zip(LEVELS, made.noises, strict=True):
            known = self._d_losses.get(level, torch.zeros_like(total))
            self._d_losses[level] = known + adversarial[level].detach() / self.facts.accumulate
            total = total + self.term(f"d_loss/{level}", adversarial[level], self.rules.d_adversarial)
            total = total + self.rules.entropy * F.mse_loss(guesses[level], noise)
        if self.class_logits:
            total = total + self.term("d_classes/features", F.cross_entropy(scores, turn.real_labels))
        return total

    def generator_objective(self, turn: Turn) -> Tensor:
        """The three terms of the levels that this step trains."""
        assert isinstance(turn, LevelTurn)
        total = turn.real.new_zeros(())
        if "features" in self._active:
            total = total + self.feature_terms(turn)
        if "images" in self._active:
            total = total + self.image_terms(turn)
        return total

    def feature_terms(self, turn: LevelTurn) -> Tensor:
        """What G1 descends: its features look real, have the label as their class, and tell their noise."""
        made = turn.made
        fake, guess, _ = self.judge_features(turn, made.features, "fake")
        real = self.judge_features(turn, made.real, "real")[0] if self.loss.reads_real else None
        condition = F.cross_entropy(self.encoder.classify(made.features), turn.fake_labels)
        return self.weigh("features", self.loss.generator(fake, real), condition, F.mse_loss(guess, made.noises[0]))

    def image_terms(self, turn: LevelTurn) -> Tensor:
        """What G0 descends: its images look real, have the features that they were made of, and tell their noise."""
        made = turn.made
        condition = F.mse_loss(self.encoder.features(turn.fake), made.given)
        entropy = F.mse_loss(self.guess_image_noise(turn), made.noises[1])
        return self.weigh("images", super().generator_objective(turn), condition, entropy)

    def weigh(self, level: str, adversarial: Tensor, condition: Tensor, entropy: Tensor) -> Tensor:
        """The weighted sum of a level's terms, each of which is logged."""
        loss = self.term(f"g_loss/{level}", adversarial, self.rules.adversarial)
        loss = loss + self.term(f"condition/{level}", condition, self.rules.condition)
        return loss + self.term(f"entropy/{level}", entropy, self.rules.entropy)

    def judge_features(self, turn: Turn, features: Tensor, purpose: str) -> tuple[Tensor, Tensor, Tensor]:
        """D1's logits of the features of all processes, [B]; of this process's, Q1's guesses and D1's class logits."""
        level = self.discriminator.feature_level
        assert isinstance(level, nn.Module)
        logits, guesses, scores = call_with_noise(turn.draws(f"features/{purpose}"), level, features)
        return all_gather(logits), guesses, scores

    def guess_image_noise(self, turn: Turn) -> Tensor:
        """Q0's guesses of this process's z0, [b, image_noise]."""
        head = self.discriminator.head
        assert isinstance(head, Level)
        return at_least_float32(head.guess(turn.fake_verdict.features))

    # ---- optimisers -------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers of D, of G and of the encoder, in this order."""
        encoder = Optimisers("adam", self.rules.encoder_lr, beta1=0.9, beta2=0.999).make({"generator": self.encoder})
        return [*super().configure_optimizers(), *encoder]


def damped(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is multiplied by `factor` on its way back."""
    return factor * x + (1 - factor) * x.detach()
