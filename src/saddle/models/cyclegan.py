"""CycleGAN (Zhu, Park, Isola and Efros 2017): translation between two domains of images that were never paired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.augment import NoAugment
from saddle.config.instantiate import instantiate
from saddle.data.base import DataModule
from saddle.data.unpaired import Unpaired
from saddle.distributed import all_gather, rank
from saddle.errors import InputError
from saddle.heads.cyclegan import Patches
from saddle.images import from_data
from saddle.models.base import GAN, Reals, Rules
from saddle.networks.cyclegan import DIRECTIONS, Direction, Generator, stack, unstack
from saddle.randomness import Draws, Rows, SampleDraws
from saddle.turn import Turn


class Pool(nn.Module):
    """A history of generated images, some of which D sees instead of new ones (Shrivastava et al. 2017).

    Until the pool is full, every new image is kept and shown. After that a new image is shown as it is, or, with
    probability `replace`, exchanged for a random one of the pool, which is shown in its place.

    Args:
        size: images in the pool; 0 for none.
        replace: probability of an exchange.
        shape: (C, H, W) of an image.
    """

    images: Tensor

    def __init__(self, size: int, replace: float, shape: tuple[int, int, int]):
        super().__init__()
        self.size, self.replace = size, replace
        self.register_buffer("images", torch.zeros(size, *shape))

    @torch.no_grad()
    def exchange(self, images: Tensor, first: int, chances: Tensor, slots: Tensor) -> Tensor:
        """What D sees instead of new images [n, C, H, W], which come one after the other: same shape.

        Args:
            images: the new ones; of all processes, so that every process holds the same pool.
            first: how many images the pool was shown before.
            chances: uniform numbers in [0, 1), [n] on the CPU.
            slots: places in the pool, int64 [n] on the CPU.
        """
        shown = images.clone()
        if not self.size:
            return shown
        decisions = zip(chances.tolist(), slots.tolist(), strict=True)
        for i, (chance, slot) in enumerate(decisions):
            if first + i < self.size:
                self.images[first + i] = images[i]
            elif chance < self.replace:
                shown[i] = self.images[slot]
                self.images[slot] = images[i]
        return shown


@dataclass(frozen=True)
class Cycle(Rules):
    """CycleGAN's rules.

    Args:
        cycle: weight of the cycle consistency.
        identity: weight of the identity mapping, as a share of `cycle`; 0 for none.
        adversarial: factor of the generators' adversarial loss.
        pool: generated images that the history of each domain holds; 0 for none.
        replace: probability that an image is exchanged for one of the history.
        channels: of the images of each domain.
        resolution: of the images that the networks see; larger ones are cropped at random.
        inputs: the configuration of the data, from which `sample` takes images where there is no trainer.
    """

    cycle: float = 10.0
    identity: float = 0.5
    adversarial: float = 2.0
    pool: int = 50
    replace: float = 0.5
    channels: int = 3
    resolution: int = 256
    inputs: Mapping[str, Any] | None = None


class TranslationTurn(Turn):
    """A turn in which G reads images instead of latents, and D sees the images that it is given."""

    @cached_property
    def latents(self) -> Tensor:
        """The stacks that G translates."""
        return self.real

    @cached_property
    def fake_labels(self) -> Tensor:
        """Those of the stacks."""
        return self.real_labels

    @cached_property
    def fake(self) -> Tensor:
        """The translations; in D's turn those of the history."""
        return super().fake if self.batch.fake is None else self.batch.fake


class CycleGAN(GAN):
    """Two generators that undo each other, and a discriminator for each domain.

    With x of domain A, y of domain B, G from A to B and F from B to A, the generators descend (section 3 of the paper)

        adversarial * (L_B(G(x)) + L_A(F(y))) + cycle * (E|F(G(x)) - x| + E|G(F(y)) - y|)
            + cycle * identity * (E|G(y) - y| + E|F(x) - x|),

    where L is the generator's function of `loss`, over all patches; |.| is the mean absolute difference of pixels. The
    discriminators descend the sum of the discriminator's function of `loss` in both domains, on images that the
    generators have just made or that a history of them (`Pool`) holds. An iteration is a step of both generators, then
    one of both discriminators, as in the authors' code.

    A batch holds the images of A on top of those of B, [b, C, 2H, W], and so do all images of a turn; generator and
    discriminator are `saddle.networks.cyclegan.Generator` and its `Trunk`, which hold both networks of a kind.

    What is sampled are the translations of the test images of A to domain B, in the order of the data.

    Raises:
        InputError: for networks, penalties, augmentations or options that do not fit two domains.
    """

    turn_type = TranslationTurn
    rules_type = Cycle

    def __init__(self, *parts: Any, **more: Any):
        super().__init__(*parts, **more)
        self._refuse_misfits()
        rules = self.rules
        shape = (rules.channels, rules.resolution, rules.resolution)
        self.pools = nn.ModuleDict({domain: Pool(rules.pool, rules.replace, shape) for domain in "ab"})

    def _refuse_misfits(self) -> None:
        if not isinstance(self.generator, Generator) or not isinstance(self.discriminator.head, Patches):
            raise InputError(
                "model=cyclegan has networks of its own: leave model/generator, model/trunk and model/head"
            )
        if self.discriminator.packing > 1 or self.discriminator.minibatch is not None:
            raise InputError("model=cyclegan judges patches of single images: leave model.packing 1, model.minibatch 0")
        if self.rules.d_steps != 1 or self.rules.top_k != 1:
            raise InputError("model=cyclegan: leave model.d_steps and model.top_k 1")
        if self.penalties or not isinstance(self.augment, NoAugment):
            raise InputError("model=cyclegan holds two images in each: choose penalty=none augment=none")

    # ---- the steps --------------------------------------------------------------------------------------------------

    def play(self, updates: Iterator[Reals]) -> None:
        """Both generators step, then both discriminators, on what the history makes of the generators' images."""
        (reals,) = updates
        fakes = self.generator_step(self.iteration, reals)
        pairs = enumerate(zip(reals, fakes, strict=True))
        shown = [batch._replace(fake=self.remember(fake, micro)) for micro, (batch, fake) in pairs]
        self.discriminator_step(self.iteration, shown)

    def generator_objective(self, turn: Turn) -> Tensor:
        """Adversarial loss, cycle consistency and identity mapping of both directions."""
        rules = self.rules
        reals = self.by_domain(turn.real_logits) if self.loss.reads_real else (None, None)
        fakes = self.by_domain(turn.fake_logits)
        terms = [self.loss.generator(fake, real) for fake, real in zip(fakes, reals, strict=True)]
        loss = self.term("adversarial", terms[0] + terms[1], rules.adversarial)
        restored = turn.generate(turn.fake, turn.fake_labels, "cycle")
        loss = loss + self.term("cycle", both(restored, turn.real), rules.cycle)
        if not rules.identity:
            return loss
        x, y = unstack(turn.real)
        same = turn.generate(stack(y, x), turn.fake_labels, "identity")
        return loss + self.term("identity", both(same, turn.real), rules.cycle * rules.identity)

    def discriminator_objective(self, turn: Turn) -> Tensor:
        """The sum of the adversarial losses of both discriminators."""
        pairs = zip(self.by_domain(turn.real_logits), self.by_domain(turn.fake_logits), strict=True)
        a, b = (self.loss.discriminator(real, fake) for real, fake in pairs)
        return a + b

    def by_domain(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of both domains, [n * 2P], as those of domain A and of domain B, [n * P] each."""
        head = self.discriminator.head
        assert isinstance(head, Patches)
        a, b = logits.view(-1, 2, head.patches // 2).unbind(1)
        return a.flatten(), b.flatten()

    def remember(self, fakes: Tensor, micro: int) -> Tensor:
        """What D sees instead of G's new stacks [b, C, 2H, W] of a micro-batch, by the history of each domain.

        The history is that of all processes, in the order of the global batch; which images are exchanged is a
        function of the iteration and the row.
        """
        total = self.facts.batch_size // self.facts.accumulate
        first, shown = micro * total, []
        for name, images in zip(self.pools, unstack(fakes), strict=True):
            draws = Draws(self.seed, self.iteration, f"pool/{name}", Rows(first, first + total, self.facts.batch_size))
            pool = self.pools[name]
            assert isinstance(pool, Pool)
            chances, slots = draws.uniform(), draws.integers(max(pool.size, 1))
            seen = self.iteration * self.facts.batch_size + first
            everyones = pool.exchange(all_gather(images.detach()), seen, chances, slots)
            shown.append(everyones[rank() * len(images) : (rank() + 1) * len(images)])
        return stack(*shown)

    def reals(self, images: Tensor, labels: Tensor) -> Iterator[Reals]:
        """The stacks of each update, in [-1, 1], cropped at random where they are larger than the networks' images."""
        for update in super().reals(images, labels):
            yield [batch._replace(images=self.crop(batch.images, micro)) for micro, batch in enumerate(update)]

    def crop(self, images: Tensor, micro: int) -> Tensor:
        """A random square of each image of the stacks [b, C, 2L, L]: [b, C, 2H, H]."""
        spare = images.shape[-1] - self.rules.resolution
        if spare <= 0:
            return images
        draws = Draws(self.seed, self.iteration, "crop", self.share.rows[micro])
        corners = draws.integers(spare + 1, 2, 2).tolist()
        window = range(self.rules.resolution)
        cut = []
        for image, places in zip(images, corners, strict=True):
            halves = zip(unstack(image), places, strict=True)
            parts = [half[:, y : y + len(window), x : x + len(window)] for half, (y, x) in halves]
            cut.append(stack(*parts))
        return torch.stack(cut).contiguous(memory_format=torch.channels_last)

    # ---- translations -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def translate(self, images: Tensor, direction: Direction, ema: bool = True) -> Tensor:
        """Translations of images [n, C, H, W] in [-1, 1], same shape and range, in evaluation mode.

        Args:
            images: of domain A or of domain B.
            direction: "a_to_b" or "b_to_a".
            ema: use the moving average of the generators.
        """
        with self.drawing(SampleDraws(self.seed, "noise", 0, len(images)), ema) as network:
            translated = getattr(network, direction)(images.to(self.device).type(self.dtype))
        return translated.to(self.dtype)

    def sample(
        self,
        start: int,
        stop: int,
        *,
        seed: int = 0,
        labels: int | Tensor | None = None,
        ema: bool = True,
        truncation: float | None = None,
        direction: Direction = "a_to_b",
    ) -> tuple[Tensor, Tensor]:
        """The translations of the images number `start` to `stop` of domain A to domain B, or in the other direction.

        The images are those of the test part, or of the training part where there is no other; after the last comes
        the first again.

        Args:
            start, stop: which images.
            seed: not read: a translation has no random numbers.
            labels: None; no class can be asked for.
            ema: use the moving average of the generators.
            truncation: None; there are no latents.
            direction: "a_to_b" or "b_to_a".

        Returns:
            images [stop - start, C, H, W] in [-1, 1], and the labels of the images that were translated.

        Raises:
            InputError: for labels or a truncation, and where the data are not known.
        """
        if truncation is not None or labels is not None:
            asked = "truncation" if truncation is not None else "class"
            raise InputError(f"{asked}: model=cyclegan translates images; it has neither latents nor classes")
        pictures = self.data.to_translate[DIRECTIONS.index(direction)]
        images, y = pictures.__getitems__([i % len(pictures) for i in range(start, stop)])
        return self.translate(from_data(images.to(self.device), self.dtype), direction, ema), y

    @cached_property
    def data(self) -> Unpaired:
        """The images of both domains: the trainer's, or those of the configuration.

        Raises:
            InputError: for data that are not of two domains.
        """
        data = getattr(self._trainer, "datamodule", None)
        if data is None and self.rules.inputs is not None:
            data = instantiate(self.rules.inputs, DataModule)
        if not isinstance(data, Unpaired):
            raise InputError(
                "model=cyclegan translates between two domains: choose data=unpaired_digits, or data=unpaired_folder "
                "data.path=FOLDER with trainA, trainB, testA and testB"
            )
        data.prepare_data()
        data.setup()
        return data

    def setup(self, stage: str) -> None:
        """Refuse data of one domain before anything else meets them."""
        _ = self.data


def both(found: Tensor, wanted: Tensor) -> Tensor:
    """The mean absolute difference of pixels in domain A plus that in domain B, of two stacks."""
    return 2 * F.l1_loss(found, wanted)
