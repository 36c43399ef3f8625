"""The two-player game: how discriminator and generator take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from saddle import latents
from saddle.augment import Augment
from saddle.distributed import Delayed, Share, average_gradients, rank, world_size
from saddle.errors import InputError
from saddle.images import from_data
from saddle.losses import Loss
from saddle.models.ema import EMA
from saddle.models.guard import Guard
from saddle.models.tracker import Noted, Tracker
from saddle.networks.discriminator import Discriminator
from saddle.networks.norm import power_iterate
from saddle.optimizers import make_optimizer
from saddle.penalties import Penalty
from saddle.randomness import Draws, Numbers, SampleDraws, layer_noise_from, rows_integers
from saddle.schedules import Schedules
from saddle.turn import Player, Turn

if TYPE_CHECKING:
    from saddle.data.loader import BatchSizes

Reals = list[tuple[Tensor, Tensor]]  # the micro-batches of one update: images in [-1, 1] and labels


class GAN(LightningModule):
    """A generator and a discriminator, trained with manual optimisation.

    One training step is one iteration: `d_steps` updates of D, then one of G. A variant whose steps differ overrides
    `discriminator_step` or `generator_step`; losses, penalties, heads, networks and augmentations are given.

    Args:
        generator: latents [B, latent_dim] and labels [B] to images [B, C, H, W] in [-1, 1].
        discriminator: trunk and head.
        loss: the adversarial objective.
        penalties: regularisers by name.
        augment: what D sees of images.
        classes: number of classes; 0 without labels.
        batch_size: real images of one D update over all processes.
        latent_dim: length of a latent vector.
        latent: its prior, "normal" or "uniform".
        d_steps: D updates per iteration.
        optimizer: "adam", "rmsprop" or "sgd".
        g_lr, d_lr: learning rates of G and D.
        beta1, beta2, eps: constants of the optimiser.
        ema: decay of G's moving average, in [0, 1); 0 for none.
        ema_start: iterations before the average starts.
        ema_kimg, ema_rampup: its half-life in thousands of images, which replaces `ema` where it is above 0, and the
            share of the images shown that the half-life cannot exceed, 0 for no bound.
        schedules: numbers that change during training, see `saddle.schedules.Schedules`.
        top_k: share of G's images, those that D calls most real, that its loss keeps in the end (Sinha et al. 2020); 1
            keeps all.
        top_k_decay: factor of that share per iteration, from 1 down to `top_k`.
        fake_labels: of the images that G makes in training: "uniform", every class as likely, or "real", those of the
            real images at the same places of the batch.
        flip: mirror real images at random.
        accumulate: micro-batches per update.
        precision: "32", "64", "bf16-mixed" or "16-mixed"; `sample` follows it too.
        nonfinite: "stop" or "skip" at a step with a non-finite gradient.
        seed: of every random number that training draws.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: Discriminator,
        loss: Loss,
        penalties: Mapping[str, Penalty],
        augment: Augment,
        *,
        classes: int,
        batch_size: int,
        latent_dim: int,
        latent: latents.Prior = "normal",
        d_steps: int = 1,
        optimizer: str = "adam",
        g_lr: float = 2e-4,
        d_lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
        eps: float = 1e-8,
        ema: float = 0.999,
        ema_start: int = 0,
        ema_kimg: float = 0.0,
        ema_rampup: float = 0.0,
        schedules: Mapping[str, Mapping[str, Any]] | None = None,
        top_k: float = 1.0,
        top_k_decay: float = 0.9999,
        fake_labels: Literal["uniform", "real"] = "uniform",
        flip: bool = False,
        accumulate: int = 1,
        precision: str = "32",
        nonfinite: str = "stop",
        seed: int = 0,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.batch_sizes: BatchSizes | None = None  # of the data, where they change during training
        self.generator, self.discriminator, self.loss = generator, discriminator, loss
        self.penalties: Mapping[str, Penalty] = nn.ModuleDict(penalties)  # type: ignore[assignment]
        self.augment = augment
        self.ema = EMA(generator, ema, ema_start, ema_kimg, ema_rampup, d_steps * batch_size)
        self.classes, self.batch_size, self.latent_dim, self.latent = classes, batch_size, latent_dim, latent
        self.d_steps, self.accumulate, self.flip, self.seed, self.precision = d_steps, accumulate, flip, seed, precision
        self.top_k, self.top_k_decay, self.fake_labels = top_k, top_k_decay, fake_labels
        if top_k < 1 and loss.reads_real:
            raise InputError(
                f"model.top_k={top_k}: {type(loss).__name__} compares all images with real ones; leave it 1"
            )
        self.optimizer_options: dict[str, Any] = {"name": optimizer, "beta1": beta1, "beta2": beta2, "eps": eps}
        self.lr = {"discriminator": d_lr, "generator": g_lr}
        self.guard = Guard(nonfinite, scaled=precision == "16-mixed")
        self.iteration = 0  # finished iterations
        self.stop_vote = 0.0  # this process's wish to stop, which rides along with G's gradients
        self.scores: dict[str, float] = {}  # the latest of every recorded scalar
        self.warnings: list[str] = []  # what a watching callback said of the run
        self.last_logits: dict[str, Tensor] = {}  # D's of its last update: real and fake, [B] over all processes
        self._stop_votes = Delayed()
        self._terms: dict[str, Tensor] = {}  # what the loss of the present step is made of, by logged name
        self._scalars = Tracker()
        self.schedules = Schedules(self, schedules or {})

    # ---- the two steps ------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One iteration on this process's share of `d_steps` batches: images (uint8) and labels, update by update."""
        self.guard.check()
        self.schedules.apply(self)
        for k, reals in enumerate(self.reals(*batch)):
            self.discriminator_step(self.iteration * self.d_steps + k, reals)
        self.generator_step(self.iteration, reals)
        self.ema.update(self.generator, self.iteration)
        self.iteration += 1

    def discriminator_step(self, step: int, reals: Reals) -> None:
        """D descends its loss on real images and on images that G makes for it without a graph."""

        def watched(turn: Turn) -> Tensor:
            self.watch(turn)
            return self.discriminator_objective(turn)

        self.descend("discriminator", step, reals, watched)
        self.augment.after_step(self.batch_size)

    def generator_step(self, step: int, reals: Reals) -> None:
        """G descends its loss through a D whose parameters are frozen: no gradient is computed for them."""
        with frozen(self.discriminator):
            self.descend("generator", step, reals, self.generator_objective)

    def discriminator_objective(self, turn: Turn) -> Tensor:
        """The adversarial loss of D."""
        return self.loss.discriminator(turn.real_logits, turn.fake_logits)

    def generator_objective(self, turn: Turn) -> Tensor:
        """The adversarial loss of G."""
        real = turn.real_logits if self.loss.reads_real else None
        return self.loss.generator(self.most_real(turn.fake_logits), real)

    def descend(self, player: Player, step: int, reals: Reals, objective: Callable[[Turn], Tensor]) -> None:
        """One optimiser step of a player: its objective, its penalties that are due and its head's term.

        Args:
            player: who steps.
            step: the number of steps that the player has behind it.
            reals: the micro-batches of real images.
            objective: the adversarial loss of one micro-batch.
        """
        network, optimizer = self.player(player)
        penalties = {name: p for name, p in self.penalties.items() if p.acts_on(player)}
        due = {name: p for name, p in penalties.items() if p.due(step)}
        needs = frozenset[str]().union(*(p.needs for p in due.values()))
        tracked = self.begin_step(optimizer)
        power_iterate(network)
        for micro, (images, labels) in enumerate(reals):
            turn = Turn(self, player, step, micro, images, labels, needs)
            loss = self.note(f"{player[0]}_loss", objective(turn))
            for name, penalty in due.items():
                label = name if penalty.player != "both" else f"{name}_{player}"
                loss = self.add(loss, f"penalty/{label}", penalty(turn), penalty.every)
            loss = self.add(loss, f"{player[0]}_head", turn.discriminator.head.loss(turn))
            self.manual_backward(loss / self.accumulate)
        parameters = {f"{player}.{name}": p for name, p in network.named_parameters() if p.requires_grad}
        if self.end_step(optimizer, parameters, tracked, f"{player[0]}_grad_norm"):
            for penalty in penalties.values():
                penalty.after_step(self)

    def begin_step(self, optimizer: Any) -> Noted:
        """An optimiser step begins: no gradients, no terms; what it may have to take back is noted."""
        optimizer.zero_grad()
        self._terms = {}
        self.guard.begin(self)
        return self._scalars.noted()

    def end_step(self, optimizer: Any, parameters: Mapping[str, Tensor], tracked: Noted, norm: str) -> bool:
        """Average the gradients over the processes and step, unless something is not finite; whether it stepped.

        Args:
            optimizer: in Lightning's wrapper.
            parameters: those of the player that learn, by full name.
            tracked: the scalars before the step, which a step that is left out leaves as they were.
            norm: the name under which the norm of the gradient is logged.
        """
        vote = next(iter(parameters.values())).new_tensor(self.stop_vote)
        votes, *sums = average_gradients(parameters.values(), torch.stack([vote, *self._terms.values()])).unbind()
        self._stop_votes.put(votes)
        terms = {f"train/{name}": value for name, value in zip(self._terms, sums, strict=True)}
        if not self.guard.admits(optimizer.optimizer, parameters, self.iteration, terms=terms):
            self._scalars.take_back(tracked)
            return False
        if self.guard.norm is not None:
            self.track(norm, self.guard.norm)
        optimizer.step()
        self.guard.stepped(parameters, self.iteration)
        return True

    # ---- what the steps are made of -----------------------------------------------------------------------------

    def player(self, player: Player) -> tuple[nn.Module, Any]:
        """The network of a player and its optimiser in Lightning's wrapper."""
        optimizers: Any = self.optimizers()
        d_optimizer, g_optimizer = optimizers
        if player == "discriminator":
            return self.discriminator, d_optimizer
        return self.generator, g_optimizer

    def most_real(self, logits: Tensor) -> Tensor:
        """The largest of G's logits [B]: the share that `top_k` keeps at this iteration."""
        if self.top_k == 1:
            return logits
        share = max(self.top_k, self.top_k_decay**self.iteration)
        return logits.topk(max(1, round(share * len(logits)))).values

    def add(self, loss: Tensor, name: str, term: Tensor | None, factor: float = 1.0) -> Tensor:
        """`loss` plus `factor` times a term, which is logged without the factor."""
        return loss if term is None else loss + factor * self.note(name, term)

    def note(self, name: str, term: Tensor) -> Tensor:
        """Track a term of the present step's loss, and let the guard know it; the term itself."""
        self.track(name, term)
        known = self._terms.get(name)
        self._terms[name] = term.detach() if known is None else known + term.detach()
        return term

    @property
    def share(self) -> Share:
        """This process's part of the global batch."""
        return Share(self.batch_size, world_size(), rank(), self.accumulate)

    def reals(self, images: Tensor, labels: Tensor) -> Iterator[Reals]:
        """The real images of each update, in [-1, 1] and mirrored at random where the data says so."""
        memory_format = torch.channels_last if images.dim() == 4 else torch.contiguous_format
        pieces = zip(
            images.chunk(self.d_steps * self.accumulate), labels.chunk(self.d_steps * self.accumulate), strict=True
        )
        micro_batches = []
        for i, (x, y) in enumerate(pieces):
            x = from_data(x, self.dtype)
            if self.flip:
                update, micro = divmod(i, self.accumulate)
                draws = Draws(self.seed, self.iteration, f"flip/{update}", self.share.rows(micro), x.device)
                x = torch.where(draws.uniform(1, 1, 1) < 0.5, x.flip(-1), x)
            micro_batches.append((x.contiguous(memory_format=memory_format), y))
        for k in range(self.d_steps):
            yield micro_batches[k * self.accumulate : (k + 1) * self.accumulate]

    def draw_latents(self, draws: Draws) -> Tensor:
        """Latents of one micro-batch, [b, latent_dim]."""
        return latents.draw(self.latent, draws, self.latent_dim)

    def make_images(self, turn: Turn, latents: Tensor, labels: Tensor, purpose: str) -> Tensor:
        """G's images [b, C, H, W] of latents and labels in training; `purpose` names the random streams."""
        return self.generator(latents, labels, **self.generator_options(turn, purpose))

    def generator_options(self, turn: Turn, purpose: str) -> dict[str, Any]:
        """What G is given in training beside latents and labels."""
        return {}

    def draw_labels(self, turn: Turn) -> Tensor:
        """Labels of the generated images of one micro-batch, int64 [b]; zeros without classes."""
        return turn.real_labels if self.fake_labels == "real" else turn.draws("labels").integers(max(self.classes, 1))

    def on_train_end(self) -> None:
        """Learn of a bad last step, which a GPU tells only afterwards."""
        self.guard.check()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers of D and of G, in this order."""
        return [
            make_optimizer(parameters=network.parameters(), lr=self.lr[player], **self.optimizer_options)
            for player, network in (("discriminator", self.discriminator), ("generator", self.generator))
        ]

    def renew_optimizers(self) -> None:
        """Give the optimisers the learning rates and constants that are set now."""
        for player in ("discriminator", "generator"):
            for group in self.player(player)[1].optimizer.param_groups:
                group["lr"] = self.lr[player]
                if "betas" in group:
                    group["betas"] = (group["betas"][0], self.optimizer_options["beta2"])

    @property
    def kimg(self) -> float:
        """Thousands of real images that the finished iterations have shown to D."""
        return self.images_at(self.iteration) / 1000

    def images_at(self, iteration: int) -> int:
        """Real images that the iterations before this one have shown to D, over all processes."""
        return iteration * self.d_steps * self.batch_size

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
        """Add to the running mean of a scalar; nothing waits for the device until `tracked` is called."""
        self._scalars.add(name, value)

    def watch(self, turn: Turn) -> None:
        """Track D's mean logits, its accuracy and what it estimates, and show its logits to the augmentation."""
        real, fake = turn.real_logits.detach(), turn.fake_logits.detach()
        boundary = self.loss.boundary(real, fake)
        self.augment.observe(real - boundary)
        for name, value in self.augment.scalars().items():
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
        means = {f"train/{name}": value for name, value in self._scalars.means().items()}
        return means | ({"train/skipped_steps": float(self.skipped)} if means and self.guard.mode == "skip" else {})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is not a parameter or a buffer.

        Raises:
            NonFinite: if the step before was bad, as a GPU tells only afterwards; then nothing is written.
        """
        self.guard.check()
        own = {"iteration": self.iteration, "skipped": self.skipped, **self._scalars.state_dict()}
        checkpoint["saddle"] = own

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        own = checkpoint["saddle"]
        self.iteration = own["iteration"]
        self._scalars.load_state_dict(own, self.device)
        self.guard.skipped = own.get("skipped", 0)

    # ---- samples ------------------------------------------------------------------------------------------------

    def forward_context(self) -> AbstractContextManager:
        """The autocast context of `precision`, for use outside a training step."""
        kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        if self.precision not in kinds:
            return nullcontext()
        return torch.autocast(self.device.type, kinds[self.precision], cache_enabled=False)

    def sample_latents(self, seed: int, start: int, stop: int, truncation: float | None = None) -> Tensor:
        """The latents of the samples number `start` to `stop` of a seed: float32 [stop - start, latent_dim]."""
        return latents.sample(self.latent, seed, start, stop, self.latent_dim, truncation)

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
            labels = rows_integers(seed, "labels", start, stop, max(self.classes, 1))
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
