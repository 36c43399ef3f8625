"""The Stacked GAN of Huang et al. 2017 (SGAN): generators that invert a classifier level by level. Not StackGAN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.distributed import all_gather
from saddle.errors import InputError
from saddle.models.base import GAN, Reals, frozen
from saddle.networks.heads.base import wide
from saddle.networks.stacked import Encoder, FeatureDiscriminator, Generator, Level
from saddle.optimizers import make_optimizer
from saddle.randomness import layer_noise_from
from saddle.turn import Player, Turn

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
    """

    real: Tensor
    features: Tensor
    given: Tensor
    noises: tuple[Tensor, Tensor]


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
    level's loss flows on into G1, times `joint`. `train/stage` is 0, 1, 2.

    Args:
        *args: of `GAN`; the discriminator's head is `Level`.
        channels, resolution: of the images.
        features: F, length of the encoder's feature vectors.
        hidden: units of the hidden layers of D1.
        blur: standard deviation of the noise on the features that D1 sees.
        encoder_width: channels of the encoder's first layer.
        encoder_lr: its learning rate (Adam).
        encoder_iterations: of the first stage.
        independent_iterations: of the second stage.
        adversarial, condition, entropy: the weights of the three terms.
        d_adversarial: that of the adversarial loss in D's turn.
        joint: factor of the image level's gradient on its way into G1.
        adaptive: several steps of G after one of D where D is strong: 1, 3, 5 or 7 as half of D's adversarial loss is
            above 0.65, 0.5, 0.3 or below; level by level in independent training, in joint training both as often as
            the images' D says, as in the authors' code.
        **options: of `GAN`.

    Raises:
        InputError: for other networks, packed images, or data without labels.
    """

    def __init__(
        self,
        *args: Any,
        channels: int,
        resolution: int,
        features: int = 256,
        hidden: int = 512,
        blur: float = 0.2,
        encoder_width: int = 64,
        encoder_lr: float = 1e-3,
        encoder_iterations: int = 1000,
        independent_iterations: int = 10000,
        adversarial: float = 1.0,
        d_adversarial: float = 1.0,
        condition: float = 1.0,
        entropy: float = 10.0,
        joint: float = 0.01,
        adaptive: bool = False,
        **options: Any,
    ):
        super().__init__(*args, **options)
        generator, head = self.generator, self.discriminator.head
        if not isinstance(generator, Generator) or not isinstance(head, Level):
            raise InputError("model=stacked_gan has a generator and a head of its own: leave both as they are")
        if self.discriminator.packing > 1:
            raise InputError(
                f"model.packing={self.discriminator.packing}: noise is guessed of single images; leave it 1"
            )
        noise = generator.latent_dim - generator.image_noise
        self.encoder = Encoder(channels, resolution, encoder_width, features, self.classes)
        self.class_logits = head.class_logits
        self.discriminator.feature_level = FeatureDiscriminator(
            features, noise, hidden, blur, self.classes if self.class_logits else 0
        )
        self.encoder_lr = encoder_lr
        self.encoder_iterations, self.independent_iterations = encoder_iterations, independent_iterations
        self.adversarial, self.d_adversarial = adversarial, d_adversarial
        self.condition, self.entropy = condition, entropy
        self.joint, self.adaptive = joint, adaptive
        self._made: Made | None = None  # of the present turn
        self._active: frozenset[str] = frozenset(LEVELS)  # the levels that G's present step trains
        self._d_losses: dict[str, Tensor] = {}  # adversarial, of D's last step

    @property
    def stage(self) -> Stage:
        """What the next iteration trains; a function of the iteration alone."""
        if self.iteration < self.encoder_iterations:
            return "encoder"
        return "independent" if self.iteration < self.encoder_iterations + self.independent_iterations else "joint"

    @property
    def conditional(self) -> bool:
        """Images of a class can be asked for."""
        return True

    # ---- the steps --------------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One iteration of the present stage on this process's share of `d_steps` batches."""
        self.track("stage", torch.tensor(float(STAGES.index(self.stage)), device=self.device))
        if self.stage != "encoder":
            return self._play(batch)
        self.guard.check()
        self.schedules.apply(self)
        for reals in self.reals(*batch):
            self.encoder_step(reals)
        self.iteration += 1

    def _play(self, batch: tuple[Tensor, Tensor]) -> None:
        """Both players' steps; the moving average begins with them."""
        self.guard.check()
        self.schedules.apply(self)
        for k, reals in enumerate(self.reals(*batch)):
            self.discriminator_step(self.iteration * self.d_steps + k, reals)
        self.generator_step(self.iteration, reals)
        self.ema.update(self.generator, self.iteration - self.encoder_iterations)
        self.iteration += 1

    def encoder_step(self, reals: Reals) -> None:
        """The encoder descends the cross-entropy of real images."""
        optimizers: Any = self.optimizers()
        optimizer = optimizers[2]
        tracked = self.begin_step(optimizer)
        for images, labels in reals:
            logits = self.encoder(images)
            loss = self.note("encoder_loss", F.cross_entropy(logits, labels))
            self.track("encoder_accuracy", (logits.argmax(1) == labels).to(logits.dtype).mean())
            self.manual_backward(loss / self.accumulate)
        parameters: dict[str, Tensor] = {f"encoder.{name}": p for name, p in self.encoder.named_parameters()}
        self.end_step(optimizer, parameters, tracked, "encoder_grad_norm")

    def discriminator_step(self, step: int, reals: Reals) -> None:
        """Both discriminators step."""
        self._d_losses = {}
        super().discriminator_step(step, reals)

    def generator_step(self, step: int, reals: Reals) -> None:
        """Both generators step, more often where `adaptive` and D's loss say so; E stays as it is."""
        counts = {level: self.updates("images" if self.stage == "joint" else level) for level in LEVELS}
        with frozen(self.encoder):
            for k in range(max(counts.values())):
                self._active = frozenset(level for level in LEVELS if counts[level] > k)
                super().generator_step(step * (MOST if self.adaptive else 1) + k, reals)

    def updates(self, level: str) -> int:
        """How often a level's generator steps after D's last step."""
        if not self.adaptive:
            return 1
        loss = float(self._d_losses[level]) / 2  # the mean of its real and its fake term, as in the authors' code
        return next((steps for limit, steps in LIMITS if loss > limit), MOST)

    def descend(self, player: Player, step: int, reals: Reals, objective: Callable[[Turn], Tensor]) -> None:
        """As for any GAN, but what G makes depends on the stage."""

        def prepared(turn: Turn) -> Tensor:
            self._made = self.make(turn)
            return objective(turn)

        super().descend(player, step, reals, prepared)

    def draw_labels(self, turn: Turn) -> Tensor:
        """Those of the real images, whose features both levels start from."""
        return turn.real_labels

    def make(self, turn: Turn) -> Made:
        """Let both levels draw, and make the images those that the turn is about."""
        generator = self.generator
        assert isinstance(generator, Generator)
        with torch.no_grad():
            real = self.encoder.features(turn.real).to(turn.real.dtype)
        with torch.set_grad_enabled(turn.player == "generator"):
            noises = generator.split(turn.latents)
            features = generator.upper(turn.fake_labels, noises[0]).to(turn.real.dtype)
            given = real if self.stage == "independent" else damped(features, self.joint)
            fake = generator.lower(given, noises[1]).to(turn.real.dtype)
        turn.fake = fake.requires_grad_() if "fake_gradients" in turn.needs else fake
        return Made(real, features, given, noises)

    # ---- the objectives ---------------------------------------------------------------------------------------------

    def discriminator_objective(self, turn: Turn) -> Tensor:
        """Adversarial loss and entropy term of both levels."""
        made = self._made
        assert made is not None
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
            self._d_losses[level] = known + adversarial[level].detach() / self.accumulate
            total = self.add(total, f"d_loss/{level}", adversarial[level], self.d_adversarial)
            total = total + self.entropy * F.mse_loss(guesses[level], noise)
        if self.class_logits:
            total = self.add(total, "d_classes/features", F.cross_entropy(scores, turn.real_labels))
        return total

    def generator_objective(self, turn: Turn) -> Tensor:
        """The three terms of the levels that this step trains."""
        total = turn.real.new_zeros(())
        if "features" in self._active:
            total = total + self.feature_terms(turn)
        if "images" in self._active:
            total = total + self.image_terms(turn)
        return total

    def feature_terms(self, turn: Turn) -> Tensor:
        """What G1 descends: its features look real, have the label as their class, and tell their noise."""
        made = self._made
        assert made is not None
        fake, guess, _ = self.judge_features(turn, made.features, "fake")
        real = self.judge_features(turn, made.real, "real")[0] if self.loss.reads_real else None
        condition = F.cross_entropy(self.encoder.classify(made.features), turn.fake_labels)
        return self.weigh("features", self.loss.generator(fake, real), condition, F.mse_loss(guess, made.noises[0]))

    def image_terms(self, turn: Turn) -> Tensor:
        """What G0 descends: its images look real, have the features that they were made of, and tell their noise."""
        made = self._made
        assert made is not None
        condition = F.mse_loss(self.encoder.features(turn.fake), made.given)
        entropy = F.mse_loss(self.guess_image_noise(turn), made.noises[1])
        return self.weigh("images", super().generator_objective(turn), condition, entropy)

    def weigh(self, level: str, adversarial: Tensor, condition: Tensor, entropy: Tensor) -> Tensor:
        """The weighted sum of a level's terms, each of which is logged."""
        loss = self.add(adversarial.new_zeros(()), f"g_loss/{level}", adversarial, self.adversarial)
        loss = self.add(loss, f"condition/{level}", condition, self.condition)
        return self.add(loss, f"entropy/{level}", entropy, self.entropy)

    def judge_features(self, turn: Turn, features: Tensor, purpose: str) -> tuple[Tensor, Tensor, Tensor]:
        """D1's logits of the features of all processes, [B]; of this process's, Q1's guesses and D1's class logits."""
        level = self.discriminator.feature_level
        assert isinstance(level, nn.Module)
        with layer_noise_from(turn.draws(f"features/{purpose}")):
            logits, guesses, scores = level(features)
        return all_gather(logits), guesses, scores

    def guess_image_noise(self, turn: Turn) -> Tensor:
        """Q0's guesses of this process's z0, [b, image_noise]."""
        head = self.discriminator.head
        assert isinstance(head, Level)
        return wide(head.guess(turn.fake_verdict.features))

    # ---- optimisers -------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers of D, of G and of the encoder, in this order."""
        encoder = make_optimizer("adam", self.encoder.parameters(), self.encoder_lr, 0.9, 0.999, 1e-8)
        return [*super().configure_optimizers(), encoder]

    def player(self, player: Player) -> tuple[nn.Module, Any]:
        """The network of a player and its optimiser in Lightning's wrapper."""
        optimizers: Any = self.optimizers()
        if player == "discriminator":
            return self.discriminator, optimizers[0]
        return self.generator, optimizers[1]


def damped(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is multiplied by `factor` on its way back."""
    return factor * x + (1 - factor) * x.detach()
