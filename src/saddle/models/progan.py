"""Progressive growing (Karras et al. 2018): both networks begin at few pixels and grow while images are shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from saddle.distributed import world_size
from saddle.errors import InputError
from saddle.models.base import GAN, Reals
from saddle.networks.equalised import MinibatchStd
from saddle.networks.progan import fade, sizes

T = TypeVar("T")


class Part(NamedTuple):
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
    `stable_kimg`; the last one has no end. Each of these parts is rounded up to whole iterations.

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
        self.parts: list[Part] = []
        start = images = 0
        for stage in stages:
            size = of_stage(batch_sizes, stage)
            for fading in (False,) if stage == stages[0] else (True, False):
                iterations = -(-round(1000 * (fade_kimg if fading else stable_kimg)) // (d_steps * size))
                if iterations or (stage == stages[-1] and not fading):
                    self.parts.append(Part(start, images, stage, iterations if fading else 0, size))
                start, images = start + iterations, images + iterations * d_steps * size
        self._starts = [part.start for part in self.parts]

    def part_at(self, iteration: int) -> Part:
        """The part to which an iteration belongs."""
        return self.parts[bisect_right(self._starts, iteration) - 1]

    def alpha_at(self, iteration: int) -> float:
        """The weight of the stage's own layers: from 0, linear in the images shown, to 1."""
        part = self.part_at(iteration)
        return (iteration - part.start) / part.fade if part.fade else 1.0

    def batch_size_at(self, iteration: int) -> int:
        """Real images of each D update of an iteration, over all processes."""
        return self.part_at(iteration).batch_size

    def images_at(self, iteration: int) -> int:
        """Real images that the iterations before this one have shown, over all processes."""
        part = self.part_at(iteration)
        return part.images + (iteration - part.start) * self.d_steps * part.batch_size

    def starts(self, iteration: int) -> bool:
        """Whether a part begins with this iteration."""
        return self.part_at(iteration).start == iteration


def of_stage(values: Sequence[T], stage: int) -> T:
    """The value for a stage from a list that begins with stage 0 and whose last value goes on."""
    return values[min(stage, len(values) - 1)]


class ProGAN(GAN):
    """A GAN whose networks grow by stages of 4, 8, 16, ... pixels.

    G's layers and D's work at the size of the stage; while it fades in, the real images are blended like G's. Images
    themselves always have the full size, in the game as in samples, as in the released code: G enlarges what it drew
    and D averages it down, so a penalty on the gradient with respect to an image sees 1 / 2^k of the slope at the
    stage's own size, k stages before the last. Stage, fade, batch size and learning rates are functions of the
    iteration alone, so that a run goes on in the middle of a fade as if it had never stopped. Logged as
    `train/resolution` and `train/alpha`.

    Args:
        *args: of `GAN`; G and the trunk of D can grow: those of ProGAN or StyleGAN.
        growing: grow; else the networks are full-size from the start, and all options below have no effect.
        start_resolution: pixels of a side at the start.
        fade_kimg: thousands of real images while a stage fades in; 600 in the released code.
        stable_kimg: thousands of real images while a stage is there; 600 in the released code.
        batch_sizes: real images of a D update over all processes at 4, 8, 16, ... pixels; the last one holds for all
            larger sizes. Takes the place of `batch_size`.
        lr_factors: of both learning rates, at 4, 8, 16, ... pixels; the last one holds for all larger sizes.
        reset_optimizers: forget the optimisers' moments when a stage comes, and when it has faded in, as the released
            code does.
        **options: of `GAN`.

    Attributes:
        growth: when the networks grow.

    Raises:
        InputError: for networks that cannot grow, or values that make no sense; when training starts, for a batch size
            that the processes or the minibatch standard deviation cannot share out.
    """

    def __init__(
        self,
        *args: Any,
        growing: bool = True,
        start_resolution: int = 4,
        fade_kimg: float = 600.0,
        stable_kimg: float = 600.0,
        batch_sizes: Sequence[int] = (16,),
        lr_factors: Sequence[float] = (1.0,),
        reset_optimizers: bool = True,
        **options: Any,
    ):
        super().__init__(*args, **options)
        network: Any = self.generator
        trunk: Any = self.discriminator.trunk
        if not (hasattr(network, "grow") and hasattr(trunk, "grow")):
            raise InputError(
                "this model grows its networks: choose progan or stylegan for model/generator and model/trunk"
            )
        if not batch_sizes or min(batch_sizes) < 1:
            raise InputError(f"model.batch_sizes={list(batch_sizes)}: give one number of images or more, each above 0")
        if not lr_factors or min(lr_factors) <= 0:
            raise InputError(f"model.lr_factors={list(lr_factors)}: give one factor or more, each above 0")
        if growing and self.ema.rampup:
            raise InputError(
                "model.ema_rampup counts images of one batch size: leave it 0 where the batch size changes"
            )
        last = network.stages - 1
        supported = sizes(4 * 2**last)
        if start_resolution not in supported:
            listed = ", ".join(map(str, supported))
            raise InputError(f"model.start_resolution={start_resolution}: choose one of {listed}")
        stages = range(supported.index(start_resolution) if growing else last, last + 1)
        self.growth = Growth(
            stages, fade_kimg, stable_kimg, batch_sizes if growing else [self.batch_size], self.d_steps
        )
        self.lr_factors = list(lr_factors) if growing else [1.0]
        self.growing, self.reset_optimizers, self.batch_sizes = growing, reset_optimizers, self.growth
        self._grow(self.ema.module)

    # ---- where training is --------------------------------------------------------------------------------------

    def images_at(self, iteration: int) -> int:
        """Real images that the iterations before this one have shown to D, over all processes."""
        return self.growth.images_at(iteration)

    @property
    def stage(self) -> int:
        """Number of the present stage; 0 has 4x4 pixels."""
        return self.growth.part_at(self.iteration).stage

    @property
    def alpha(self) -> float:
        """The weight of its own layers."""
        return self.growth.alpha_at(self.iteration)

    def _grow(self, *networks: Any) -> None:
        """Bring the networks and the batch size to where the iteration has them."""
        for network in (self.generator, self.discriminator.trunk, *networks):
            network.grow(self.stage, self.alpha)
        self.batch_size = self.growth.batch_size_at(self.iteration)
        self.ema.images = self.d_steps * self.batch_size

    # ---- training -----------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Refuse now a batch size that a later stage could not use, and say which sizes there will be."""
        parts = world_size() * self.accumulate
        groups = [m.group for m in self.discriminator.modules() if isinstance(m, MinibatchStd)]
        for size in sorted({part.batch_size for part in self.growth.parts}):
            rows = size // parts // self.discriminator.packing
            alone = world_size() == 1 and rows > 0
            if size % (parts * self.discriminator.packing) or any(
                rows % g and not (alone and rows < g) for g in groups
            ):
                raise InputError(
                    f"model.batch_sizes: {size} images cannot be shared evenly by {world_size()} processes with "
                    f"trainer.accumulate={self.accumulate} in groups of {max(groups, default=1)}, the samples of a "
                    "minibatch standard deviation: choose multiples of their product"
                )
        if self.growing:
            pairs = {4 * 2**part.stage: part.batch_size for part in self.growth.parts}
            listed = ", ".join(f"{size} at {side}" for side, size in pairs.items())
            self.print(f"images of a batch, by pixels: {listed} (model.batch_sizes replaces data.batch_size)")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One iteration at the stage that is reached."""
        self._grow()
        if self.growing:
            if self.reset_optimizers and self.iteration and self.growth.starts(self.iteration):
                for player in ("discriminator", "generator"):
                    self.player(player)[1].optimizer.state.clear()
            self.renew_optimizers()
            self.track("alpha", torch.tensor(self.alpha, device=self.device))
            self.track("resolution", torch.tensor(4.0 * 2**self.stage, device=self.device))
        super().training_step(batch, batch_idx)

    def renew_optimizers(self) -> None:
        """Give the optimisers the learning rates of this stage, and the constants that are set now."""
        super().renew_optimizers()
        for player in ("discriminator", "generator"):
            for group in self.player(player)[1].optimizer.param_groups:
                group["lr"] *= of_stage(self.lr_factors, self.stage)

    def reals(self, images: Tensor, labels: Tensor) -> Iterator[Reals]:
        """The real images of each update, with the detail of the stage, and faded like G's."""
        stage, alpha = self.stage, self.alpha
        for update in super().reals(images, labels):
            yield [(fade(x, stage, alpha), y) for x, y in update]
