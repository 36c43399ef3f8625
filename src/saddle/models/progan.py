"""Progressive growing (Karras et al. 2018): both networks begin at few pixels and grow while images are shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from saddle.distributed import Share, world_size
from saddle.errors import InputError
from saddle.models.base import GAN, Reals, Rules
from saddle.networks.equalised import MinibatchStd
from saddle.networks.progan import fade, sizes

T = TypeVar("T")


class Phase(NamedTuple):
    """A stretch of training in which a stage fades in, or is there.

    Attributes:
        start: its first iteration.
        images: real images shown before it.
        stage: number of the stage; 0 has 4x4 pixels.
        fade: its length in iterations if the stage fades in, else 0.
        batch_size: real images of one D update over all processes.
    """

    start: int
    images: int
    stage: int
    fade: int
    batch_size: int


class Growth:
    """When networks grow, as a function of the iteration alone.

    The first stage is trained for `stable_kimg`; every further one fades in over `fade_kimg`, then is trained for
    `stable_kimg`; the last one has no end. Each of these phases is rounded up to whole iterations.

    Args:
        stages: numbers of the stages, ascending.
        fade_kimg: thousands of real images while a stage fades in.
        stable_kimg: thousands of real images while a stage is there.
        batch_sizes: by stage from 0 on; the last one holds for all further stages.
        d_steps: D updates of one iteration.
    """

    def __init__(
        self, stages: Sequence[int], fade_kimg: float, stable_kimg: float, batch_sizes: Sequence[int], d_steps: int = 1
    ):
        self.stages, self.d_steps = tuple(stages), d_steps
        self.phases: list[Phase] = []
        start = images = 0
        for stage in stages:
            size = of_stage(batch_sizes, stage)
            for fading in (False,) if stage == stages[0] else (True, False):
                iterations = -(-round(1000 * (fade_kimg if fading else stable_kimg)) // (d_steps * size))
                if iterations or (stage == stages[-1] and not fading):
                    self.phases.append(Phase(start, images, stage, iterations if fading else 0, size))
                start, images = start + iterations, images + iterations * d_steps * size
        self._starts = [phase.start for phase in self.phases]

    def phase_at(self, iteration: int) -> Phase:
        """The phase to which an iteration belongs."""
        return self.phases[bisect_right(self._starts, iteration) - 1]

    def alpha_at(self, iteration: int) -> float:
        """The weight of the stage's own layers: from 0, linear in the images shown, to 1."""
        phase = self.phase_at(iteration)
        return (iteration - phase.start) / phase.fade if phase.fade else 1.0

    def batch_size_at(self, iteration: int) -> int:
        """Real images of each D update of an iteration, over all processes."""
        return self.phase_at(iteration).batch_size

    def images_at(self, iteration: int) -> int:
        """Real images that the iterations before this one have shown, over all processes."""
        phase = self.phase_at(iteration)
        return phase.images + (iteration - phase.start) * self.d_steps * phase.batch_size

    def starts(self, iteration: int) -> bool:
        """Whether a phase begins with this iteration."""
        return self.phase_at(iteration).start == iteration


def of_stage(values: Sequence[T], stage: int) -> T:
    """The value for a stage from a list that begins with stage 0 and whose last value goes on."""
    return values[min(stage, len(values) - 1)]


@dataclass(frozen=True)
class Growing(Rules):
    """ProGAN's rules.

    Args:
        growing: grow; else the networks are full-size from the start, and all options below have no effect.
        start_resolution: pixels of a side at the start.
        fade_kimg: thousands of real images while a stage fades in; 600 in the released code.
        stable_kimg: thousands of real images while a stage is there; 600 in the released code.
        batch_sizes: real images of a D update over all processes at 4, 8, 16, ... pixels; the last one holds for all
            larger sizes. Takes the place of `batch_size`.
        lr_factors: of both learning rates, at 4, 8, 16, ... pixels; the last one holds for all larger sizes.
        reset_optimizers: forget the optimisers' moments when a stage comes, and when it has faded in, as the released
            code does.

    Raises:
        InputError: for values that make no sense.
    """

    growing: bool = True
    start_resolution: int = 4
    fade_kimg: float = 600.0
    stable_kimg: float = 600.0
    batch_sizes: Sequence[int] = (16,)
    lr_factors: Sequence[float] = (1.0,)
    reset_optimizers: bool = True

    def __post_init__(self) -> None:
        sizes, factors = list(self.batch_sizes), list(self.lr_factors)
        if not sizes or min(sizes) < 1:
            raise InputError(f"model.batch_sizes={sizes}: give one number of images or more, each above 0")
        if not factors or min(factors) <= 0:
            raise InputError(f"model.lr_factors={factors}: give one factor or more, each above 0")


class ProGAN(GAN):
    """A GAN whose networks grow by stages of 4, 8, 16, ... pixels: those of ProGAN or StyleGAN.

    G's layers and D's work at the size of the stage; while it fades in, the real images are blended like G's. Images
    themselves always have the full size, in the game as in samples, as in the released code: G enlarges what it drew
    and D averages it down, so a penalty on the gradient with respect to an image sees 1 / 2^k of the slope at the
    stage's own size, k stages before the last. Stage, fade, batch size and learning rates are functions of the
    iteration alone, so that a run goes on in the middle of a fade as if it had never stopped. Logged as
    `train/resolution` and `train/alpha`.

    Attributes:
        growth: when the networks grow.

    Raises:
        InputError: for networks that cannot grow, or a start that is no stage; when training starts, for a batch size
            that the processes or the minibatch standard deviation cannot share out.
    """

    rules_type: ClassVar[type[Rules]] = Growing

    def __init__(self, *parts: Any, **more: Any):
        super().__init__(*parts, **more)
        network: Any = self.generator
        trunk: Any = self.discriminator.trunk
        if not (hasattr(network, "grow") and hasattr(trunk, "grow")):
            raise InputError(
                "this model grows its networks: choose progan or stylegan for model/generator and model/trunk"
            )
        rules, last = self.rules, network.stages - 1
        supported = sizes(4 * 2**last)
        if rules.start_resolution not in supported:
            listed = ", ".join(map(str, supported))
            raise InputError(f"model.start_resolution={rules.start_resolution}: choose one of {listed}")
        stages = range(supported.index(rules.start_resolution) if rules.growing else last, last + 1)
        batch_sizes = rules.batch_sizes if rules.growing else [self.facts.batch_size]
        self.growth = Growth(stages, rules.fade_kimg, rules.stable_kimg, batch_sizes, rules.d_steps)
        self.batch_sizes = self.growth
        self._grow()

    # ---- where training is --------------------------------------------------------------------------------------

    def images_at(self, iteration: int) -> int:
        """Real images that the iterations before this one have shown to D, over all processes."""
        return self.growth.images_at(iteration)

    @property
    def stage(self) -> int:
        """Number of the present stage; 0 has 4x4 pixels."""
        return self.growth.phase_at(self.iteration).stage

    @property
    def alpha(self) -> float:
        """The weight of its own layers."""
        return self.growth.alpha_at(self.iteration)

    def _grow(self) -> None:
        """Bring the networks, G's average among them, and the batch size to where the iteration has them."""
        networks: Any = (self.generator, self.discriminator.trunk, self.ema.module)
        for network in networks:
            network.grow(self.stage, self.alpha)
        batch_size = self.growth.batch_size_at(self.iteration)
        if batch_size != self.share.batch_size:
            self.share = Share.of_this_process(batch_size, self.facts.accumulate)

    # ---- training -----------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Refuse now a batch size that a later stage could not use, and say which sizes there will be."""
        parts = world_size() * self.facts.accumulate
        groups = [m.group for m in self.discriminator.modules() if isinstance(m, MinibatchStd)]
        for size in sorted({phase.batch_size for phase in self.growth.phases}):
            rows = size // parts // self.discriminator.packing
            alone = world_size() == 1 and rows > 0
            if size % (parts * self.discriminator.packing) or any(
                rows % g and not (alone and rows < g) for g in groups
            ):
                raise InputError(
                    f"model.batch_sizes: {size} images cannot be shared evenly by {world_size()} processes with "
                    f"trainer.accumulate={self.facts.accumulate} in groups of {max(groups, default=1)}, the samples of "
                    "a minibatch standard deviation: choose multiples of their product"
                )
        super().on_fit_start()
        if self.rules.growing:
            pairs = {4 * 2**phase.stage: phase.batch_size for phase in self.growth.phases}
            listed = ", ".join(f"{size} at {side}" for side, size in pairs.items())
            self.print(f"images of a batch, by pixels: {listed} (model.batch_sizes replaces data.batch_size)")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One iteration at the stage that is reached."""
        self._grow()
        if self.rules.growing:
            if self.rules.reset_optimizers and self.iteration and self.growth.starts(self.iteration):
                self.optimisers.forget()
            self.optimisers.factor = of_stage(self.rules.lr_factors, self.stage)
            self.optimisers.renew()
            self.track("alpha", torch.tensor(self.alpha, device=self.device))
            self.track("resolution", torch.tensor(4.0 * 2**self.stage, device=self.device))
        super().training_step(batch, batch_idx)

    def reals(self, images: Tensor, labels: Tensor) -> Iterator[Reals]:
        """The real images of each update, with the detail of the stage, and faded like G's."""
        stage, alpha = self.stage, self.alpha
        for update in super().reals(images, labels):
            yield [batch._replace(images=fade(batch.images, stage, alpha)) for batch in update]
