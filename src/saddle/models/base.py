"""The two-player game: how discriminator and generator take turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from saddle.augment import Augment
from saddle.data.loader import BatchSizes
from saddle.discriminator import Discriminator
from saddle.distributed import Delayed, Share, average_gradients
from saddle.images import from_data
from saddle.losses import Loss
from saddle.models.ema import EMA
from saddle.models.guard import Guard
from saddle.models.optimisers import Optimisers
from saddle.models.tracker import Tracker
from saddle.networks.norm import power_iterate
from saddle.penalties import Penalty, due
from saddle.prior import Prior
from saddle.randomness import Draws, Numbers, SampleDraws, layer_noise_from
from saddle.schedules import Place, Schedules
from saddle.turn import MicroBatch, Player, Turn

Reals = list[MicroBatch]  # of one update


@dataclass(frozen=True)
class Rules:
    """The rules of the game. A variant adds its own in a subclass; the options of conf/model of these names set them.

    Args:
        d_steps: D updates per iteration.
        top_k: share of G's images, those that D calls most real, that its loss keeps in the end (Sinha et al. 2020); 1
            keeps all.
        top_k_decay: factor of that share per iteration, from 1 down to `top_k`.
    """

    d_steps: int = 1
    top_k: float = 1.0
    top_k_decay: float = 0.9999


@dataclass(frozen=True)
class Facts:
    """What the data, the trainer and the command line say of a run.

    Args:
        batch_size: real images of one D update over all processes.
        accumulate: micro-batches per update.
        flip: mirror real images at random.
        precision: "32", "64", "bf16-mixed" or "16-mixed"; `GAN.sample` follows it too.
        nonfinite: "stop" or "skip" at a step with a non-finite gradient.
        seed: of every random number that training draws.
    """

    batch_size: int
    accumulate: int = 1
    flip: bool = False
    precision: str = "32"
    nonfinite: str = "stop"
    seed: int = 0


class GAN(LightningModule):
    """A generator and a discriminator, trained with manual optimisation.

    One training step is one iteration: `d_steps` updates of D, then one of G; notebooks/one_step.py writes both out for
    one model. Losses, penalties, heads, networks and augmentations are given. A variant whose steps differ overrides
    `play`, `discriminator_step`, `generator_step` or an objective; one whose turns hold other things has a `turn_type`,
    one with options of its own a `rules_type`.

    Args:
        generator: latents [B, dim] and labels [B] to images [B, C, H, W] in [-1, 1].
        discriminator: trunk and head.
        loss: the adversarial objective.
        penalties: regularisers by name.
        augment: what D sees of images.
        prior: of latents and labels.
        optimisers: of both players.
        ema: G's moving average.
        rules: of the game, a `rules_type`.
        facts: of the run.
        schedules: numbers that change during training, see `saddle.schedules.Schedules`.
    """

    turn_type: ClassVar[type[Turn]] = Turn
    rules_type: ClassVar[type[Rules]] = Rules

    def __init__(
        self,
        generator: nn.Module,
        discriminator: Discriminator,
        loss: Loss,
        penalties: Mapping[str, Penalty],
        augment: Augment,
        *,
        prior: Prior,
        optimisers: Optimisers,
        ema: EMA,
        rules: Any,
        facts: Facts,
        schedules: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.batch_sizes: BatchSizes | None = None  # of the data, where they change during training
        self.generator, self.discriminator, self.loss = generator, discriminator, loss
        self.penalties: Mapping[str, Penalty] = nn.ModuleDict(penalties)  # type: ignore[assignment]
        self.augment, self.ema = augment, ema
        self.prior, self.optimisers, self.rules, self.facts, self.seed = prior, optimisers, rules, facts, facts.seed
        self.share = Share.of_this_process(facts.batch_size, facts.accumulate)
        self.guard = Guard(facts.nonfinite, scaled=facts.precision == "16-mixed")
        self.iteration = 0  # finished iterations
        self.stop_vote = 0.0  # this process's wish to stop, which rides along with G's gradients
        self.scores: dict[str, float] = {}  # the latest of every recorded scalar
        self.warnings: list[str] = []  # what a watching callback said of the run
        self.last_logits: dict[str, Tensor] = {}  # D's of its last update: real and fake, [B] over all processes
        self._votes: float | Tensor = 0.0  # of all processes, as of the last optimiser step
        self._stop_votes = Delayed()
        self._terms: dict[str, Tensor] = {}  # what the loss of the present step is made of, by logged name
        self._scalars: list[tuple[str, Tensor]] = []  # tracked since the last iteration ended
        self._tracker = Tracker()
        places = {name: Place(optimisers, name) for name in optimisers.SETTABLE}
        places |= {"ema": Place(ema, "decay"), "ema_kimg": Place(ema, "half_life")}
        self.schedules = Schedules(schedules, places, augment, penalties) if schedules else None

    # ---- the two steps ------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One iteration on this process's share of `d_steps` batches: images (uint8) and labels, update by update."""
        if self.schedules is not None:
            self.schedules.apply(self.iteration, self.kimg)
            self.optimisers.renew()
        self.play(self.reals(*batch))
        self.ema.update(self.generator, self.iteration, self.rules.d_steps * self.share.batch_size)
        self.iteration += 1
        self._stop_votes.put(self._votes)
        self._sums()

    def play(self, updates: Iterator[Reals]) -> None:
        """The steps of one iteration, on the real images of each update of D; G's turn has those of the last."""
        for k, reals in enumerate(updates):
            self.discriminator_step(self.iteration * self.rules.d_steps + k, reals)
        self.generator_step(self.iteration, reals)

    def discriminator_step(self, step: int, reals: Reals) -> None:
        """D descends its loss on real images and on images that G makes for it without a graph."""
        self.descend("discriminator", step, reals)
        self.augment.after_step(self.share.batch_size)

    def generator_step(self, step: int, reals: Reals) -> list[Tensor]:
        """G descends its loss through a D whose parameters are frozen: no gradient is computed for them.

        Returns:
            The images that it made for its step, without a graph, by micro-batch.
        """
        with frozen(self.discriminator):
            return self.descend("generator", step, reals)

    def discriminator_objective(self, turn: Turn) -> Tensor:
        """The adversarial loss of D."""
        return self.loss.discriminator(turn.real_logits, turn.fake_logits)

    def generator_objective(self, turn: Turn) -> Tensor:
        """The adversarial loss of G."""
        real = turn.real_logits if self.loss.reads_real else None
        return self.loss.generator(self.most_real(turn.fake_logits), real)

    def descend(self, player: Player, step: int, reals: Reals) -> list[Tensor]:
        """One optimiser step of a player: its objective, its penalties that are due and its head's term.

        Args:
            player: who steps.
            step: the number of steps that the player has behind it.
            reals: the micro-batches of real images.

        Returns:
            The generated images of the step, without a graph, by micro-batch.
        """
        network, optimizer = self.player(player)
        objective = self.discriminator_objective if player == "discriminator" else self.generator_objective
        terms, needs = due(self.penalties, player, step)
        tracked, fakes = self.begin_step(optimizer), []
        power_iterate(network)
        for micro, batch in enumerate(reals):
            turn = self.turn_type(self, player, step, micro, batch, needs)
            if player == "discriminator":
                self.watch(turn)
            loss = self.term(f"{player[0]}_loss", objective(turn))
            for name, penalty in terms.items():
                value = penalty(turn)
                loss = loss if value is None else loss + self.term(f"penalty/{name}", value, penalty.every)
            value = turn.discriminator.head.loss(turn)
            loss = loss if value is None else loss + self.term(f"{player[0]}_head", value)
            self.manual_backward(loss / self.facts.accumulate)
            fakes.append(turn.fake.detach())
        parameters = {f"{player}.{name}": p for name, p in network.named_parameters() if p.requires_grad}
        if self.end_step(optimizer, parameters, tracked, f"{player[0]}_grad_norm"):
            for penalty in terms.values():
                penalty.after_step(network)
        return fakes

    def begin_step(self, optimizer: Any) -> int:
        """An optimiser step begins: no gradients, no terms. How many scalars were tracked before it, for `end_step`."""
        optimizer.zero_grad()
        self._terms = {}
        if self.guard.mode == "skip":
            self.guard.keep(self)
        return len(self._scalars)

    def end_step(self, optimizer: Any, parameters: Mapping[str, Tensor], tracked: int, norm: str) -> bool:
        """Average the gradients over the processes and step, unless something is not finite; whether it stepped.

        Args:
            optimizer: in Lightning's wrapper.
            parameters: those of the player that learn, by full name.
            tracked: how many scalars were tracked before the step; one that is left out leaves no others.
            norm: the name under which the norm of the gradient is logged.
        """
        vote = next(iter(parameters.values())).new_tensor(self.stop_vote)
        self._votes, *sums = average_gradients(parameters.values(), torch.stack([vote, *self._terms.values()])).unbind()
        terms = {f"train/{name}": value for name, value in zip(self._terms, sums, strict=True)}
        if not self.guard.step(optimizer, parameters, self.iteration, terms):
            del self._scalars[tracked:]
            return False
        if self.guard.norm is not None:
            self.track(norm, self.guard.norm)
        return True

    # ---- what the steps are made of -----------------------------------------------------------------------------

    def player(self, player: Player) -> tuple[nn.Module, Any]:
        """The network of a player and its optimiser in Lightning's wrapper."""
        optimizers: Any = self.optimizers()
        if player == "discriminator":
            return self.discriminator, optimizers[0]
        return self.generator, optimizers[1]

    def most_real(self, logits: Tensor) -> Tensor:
        """The largest of G's logits [B]: the share that `top_k` keeps at this iteration."""
        if self.rules.top_k == 1:
            return logits
        share = max(self.rules.top_k, self.rules.top_k_decay**self.iteration)
        return logits.topk(max(1, round(share * len(logits)))).values

    def term(self, name: str, value: Tensor, factor: float = 1.0) -> Tensor:
        """A term of the present step's loss, times a factor; it is logged, and the guard looks at it, without that."""
        self.track(name, value)
        known = self._terms.get(name)
        self._terms[name] = value.detach() if known is None else known + value.detach()
        return factor * value

    def reals(self, images: Tensor, labels: Tensor) -> Iterator[Reals]:
        """The real images of each update, in [-1, 1] and mirrored at random where the data says so."""
        memory_format = torch.channels_last if images.dim() == 4 else torch.contiguous_format
        accumulate, d_steps = self.facts.accumulate, self.rules.d_steps
        pieces = zip(images.chunk(d_steps * accumulate), labels.chunk(d_steps * accumulate), strict=True)
        micro_batches = []
        for i, (x, y) in enumerate(pieces):
            x = from_data(x, self.dtype)
            if self.facts.flip:
                update, micro = divmod(i, accumulate)
                draws = Draws(self.seed, self.iteration, f"flip/{update}", self.share.rows[micro], x.device)
                x = torch.where(draws.uniform(1, 1, 1) < 0.5, x.flip(-1), x)
            micro_batches.append(MicroBatch(x.contiguous(memory_format=memory_format), y))
        for k in range(d_steps):
            yield micro_batches[k * accumulate : (k + 1) * accumulate]

    def on_fit_start(self) -> None:
        """Take the share of this process, now that the others are known."""
        self.share = Share.of_this_process(self.share.batch_size, self.facts.accumulate)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Cut a player's gradient; an optimiser that would unscale it itself (16-mixed) has it unscaled before."""
        if self.optimisers.gradient_clip_val is None:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        self.optimisers.clip(optimizer)

    def on_train_end(self) -> None:
        """Learn of a bad last step, which a GPU tells only afterwards."""
        self.guard.check()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers of D and of G, in this order."""
        return self.optimisers.make({"discriminator": self.discriminator, "generator": self.generator})

    @property
    def kimg(self) -> float:
        """Thousands of real images that the finished iterations have shown to D."""
        return self.images_at(self.iteration) / 1000

    def images_at(self, iteration: int) -> int:
        """Real images that the iterations before this one have shown to D, over all processes."""
        return iteration * self.rules.d_steps * self.share.batch_size

    @property
    def conditional(self) -> bool:
        """Whether labels reach D, so that images of a class can be asked for."""
        return self.discriminator.head.needs_labels

    @property
    def skipped(self) -> int:
        """Optimiser steps left out so far because something was not finite (nonfinite=skip)."""
        return self.guard.skipped

    @property
    def stop_votes(self) -> float:
        """How many processes wished to stop, as of the last iteration; the same number on every process."""
        return self._stop_votes.get()

    # ---- scalars ------------------------------------------------------------------------------------------------

    def track(self, name: str, value: Tensor) -> None:
        """Add a 0-d tensor, which must not be changed in place afterwards, to the running mean of a scalar.

        Nothing waits for the device until `tracked` is called.
        """
        self._scalars.append((name, value.detach()))

    def watch(self, turn: Turn) -> None:
        """Track D's mean logits, its accuracy and what it estimates, and show its logits to the augmentation."""
        real, fake = turn.real_logits.detach(), turn.fake_logits.detach()
        boundary = self.loss.boundary(real, fake)
        for name, value in self.augment.observe(real - boundary).items():
            self.track(f"augment/{name}", value)
        for name, estimate in self.loss.estimates(real, fake).items():
            self.track(f"estimate/{name}", estimate)
        self.last_logits = {"real": real, "fake": fake}
        self.track("real_logits", real.mean())
        self.track("fake_logits", fake.mean())
        self.track("d_accuracy_real", (real > boundary).to(real.dtype).mean())
        self.track("d_accuracy_fake", (fake < boundary).to(fake.dtype).mean())

    def tracked(self) -> dict[str, float]:
        """The means since the last call, over all processes, as ``train/<name>``. Every process must call it."""
        means = {f"train/{name}": value for name, value in self._sums().means().items()}
        return means | ({"train/skipped_steps": float(self.skipped)} if means and self.guard.mode == "skip" else {})

    def _sums(self) -> Tracker:
        """The tracker, with all scalars so far."""
        self._tracker.add(self._scalars)
        self._scalars.clear()
        return self._tracker

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is not a parameter or a buffer.

        Raises:
            NonFinite: if the step before was bad, as a GPU tells only afterwards; then nothing is written.
        """
        self.guard.check()
        own: dict[str, Any] = {"iteration": self.iteration, "skipped": self.skipped}
        own |= {"scores": dict(self.scores), "warnings": list(self.warnings)}
        checkpoint["saddle"] = own | self._sums().state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what `on_save_checkpoint` kept."""
        own = checkpoint["saddle"]
        self.iteration = own["iteration"]
        self._tracker.load_state_dict(own, self.device)
        self.guard.skipped = own.get("skipped", 0)
        self.scores.update(own.get("scores", {}))
        self.warnings[:] = own.get("warnings", [])

    # ---- samples ------------------------------------------------------------------------------------------------

    def forward_context(self) -> AbstractContextManager:
        """The autocast context of `precision`, for use outside a training step."""
        kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        if self.facts.precision not in kinds:
            return nullcontext()
        return torch.autocast(self.device.type, kinds[self.facts.precision], cache_enabled=False)

    def sample_latents(self, seed: int, start: int, stop: int, truncation: float | None = None) -> Tensor:
        """The latents of the samples number `start` to `stop` of a seed: float32 [stop - start, dim]."""
        return self.prior.sample(seed, start, stop, truncation)

    @torch.no_grad()
    def sample(
        self,
        start: int,
        stop: int,
        *,
        seed: int = 0,
        labels: int | Tensor | None = None,
        ema: bool = True,
        truncation: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The generated images number `start` to `stop` of a seed, each a function of (seed, number).

        Args:
            start, stop: which samples; call it in chunks that fit in memory.
            seed: of latents and labels.
            labels: one class, labels int64 [stop - start], or None for random ones.
            ema: use the moving average of G.
            truncation: threshold of truncated normal latents, or what a model makes of it; None for none.

        Returns:
            images [stop - start, C, H, W], float32 or float64 in [-1, 1], and labels int64 [stop - start].
        """
        z = self.sample_latents(seed, start, stop, truncation).to(self.device).type(self.dtype)
        if labels is None:
            labels = self.prior.sample_labels(seed, start, stop)
        y = torch.full((stop - start,), labels) if isinstance(labels, int) else labels
        with self.drawing(SampleDraws(seed, "noise", start, stop), ema) as network:
            images = self.sample_images(network, z, y.to(self.device), truncation)
        return images.to(self.dtype), y

    def sample_images(self, network: nn.Module, latents: Tensor, labels: Tensor, truncation: float | None) -> Tensor:
        """A generator's images of sampled latents, to which `sample_latents` has applied the truncation."""
        return network(latents, labels)

    @contextmanager
    def drawing(self, noise: Numbers, ema: bool = True) -> Iterator[nn.Module]:
        """G, or its moving average, in evaluation mode and the run's precision; its layers draw from `noise`."""
        network = self.ema.module if ema else self.generator
        training = network.training
        network.eval()
        try:
            with torch.no_grad(), self.forward_context(), layer_noise_from(noise):
                yield network
        finally:
            network.train(training)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No parameter of `module` requires a gradient inside."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
