"""InfoGAN (Chen et al. 2016): a GAN whose latents hold codes that can be read off the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddle.errors import InputError
from saddle.heads.information import Codes, Information
from saddle.models.base import GAN
from saddle.prior import Prior
from saddle.randomness import Draws, SampleDraws, layer_noise_from, rows_integers, rows_uniform


@dataclass(frozen=True)
class CodedPrior(Prior):
    """A latent is noise, one-hot categorical codes and continuous codes, in this order.

    Noise follows the law; categorical codes are uniform over their values, continuous ones uniform in [-1, 1).
    Truncation acts on the noise alone.

    Args:
        codes: at the end of each latent.

    Raises:
        InputError: for a latent that is shorter than its codes.
    """

    codes: Codes = Codes((), 0)

    def __post_init__(self) -> None:
        if self.noise.dim < 0:
            raise InputError(f"model.latent_dim={self.dim}: the codes alone take {self.codes.size} numbers of it")

    @property
    def noise(self) -> Prior:
        """The prior of the noise alone."""
        return Prior(self.dim - self.codes.size, self.law)

    def draw(self, draws: Draws) -> Tensor:
        """Latents of one micro-batch, [b, dim]."""
        noise = self.noise.draw(draws)
        categories = [draws.integers(values) for values in self.codes.categorical]
        return self.compose(noise, categories, draws.uniform(self.codes.continuous) * 2 - 1)

    def sample(self, seed: int, start: int, stop: int, truncation: float | None = None) -> Tensor:
        """Latents of the samples [start, stop): float32 [stop - start, dim]."""
        categories = [self.sample_categories(seed, start, stop, code) for code in range(len(self.codes.categorical))]
        continuous = rows_uniform(seed, "codes/continuous", start, stop, self.codes.continuous) * 2 - 1
        return self.compose(self.noise.sample(seed, start, stop, truncation), categories, continuous)

    def sample_categories(self, seed: int, start: int, stop: int, code: int) -> Tensor:
        """The value of a categorical code that the samples [start, stop) of a seed have, int64 [stop - start]."""
        return rows_integers(seed, f"codes/{code}", start, stop, self.codes.categorical[code])

    def compose(self, noise: Tensor, categories: list[Tensor], continuous: Tensor) -> Tensor:
        """A latent [n, dim] of its parts.

        Args:
            noise: [n, noise.dim].
            categories: the value of each categorical code, int64 [n].
            continuous: the continuous codes [n, continuous].
        """
        one_hot = [
            F.one_hot(value, values).to(noise) for value, values in zip(categories, self.codes.categorical, strict=True)
        ]
        return torch.cat([noise, *one_hot, continuous.to(noise)], 1)


class InfoGAN(GAN):
    """The latents hold codes, see `CodedPrior`; D's head guesses them.

    The codes are those of the head `Information`, whose term makes both players raise a lower bound on the mutual
    information of codes and images. `model.latent_dim` counts noise and codes: 74 = 62 + 10 + 2 in the paper.

    Attributes:
        codes: at the end of each latent.

    Raises:
        InputError: for another head, packed images, or a latent that is shorter than its codes.
    """

    prior: CodedPrior

    def __init__(self, *parts: Any, **more: Any):
        super().__init__(*parts, **more)
        head, packing, prior = self.discriminator.head, self.discriminator.packing, self.prior
        if not isinstance(head, Information):
            raise InputError(f"model=infogan reads its codes by model/head=information, not by a {type(head).__name__}")
        if packing > 1:
            raise InputError(f"model.packing={packing}: codes are guessed of single images; leave it 1")
        self.codes: Codes = head.codes
        self.prior = CodedPrior(prior.dim, prior.law, prior.classes, prior.labels, self.codes)

    @torch.no_grad()
    def render(self, z: Tensor, ema: bool = True) -> Tensor:
        """Images [n, C, H, W] in [-1, 1] of given latents [n, dim], in evaluation mode; labels are all 0.

        Args:
            z: the latents.
            ema: use the moving average of G.
        """
        labels = torch.zeros(len(z), dtype=torch.int64, device=self.device)
        with self.drawing(SampleDraws(self.seed, "noise", 0, len(z)), ema) as network:
            images = network(z.to(self.device).type(self.dtype), labels)
        return images.to(self.dtype)

    def sweep_category(self, code: int, columns: int) -> Tensor:
        """Latents [values * columns, dim] of a grid: a value of a categorical code a row, a noise a column."""
        values = self.codes.categorical[code]
        grid = self._columns(columns)[None].repeat(values, 1, 1)
        start = self.prior.noise.dim + sum(self.codes.categorical[:code])
        grid[:, :, start : start + values] = torch.eye(values)[:, None]
        return grid.flatten(0, 1)

    def sweep_continuous(self, code: int, columns: int, reach: float = 2.0) -> Tensor:
        """Latents [rows * columns, dim] of a grid: a continuous code goes from -reach to reach along each row.

        There is a row per value of the first categorical code, all with the same noise; without categorical codes
        there are `columns` rows of different noise. Training draws the code from [-1, 1).
        """
        rows = self.sweep_category(0, 1) if self.codes.categorical else self._columns(columns)
        grid = rows[:, None].repeat(1, columns, 1)
        grid[:, :, self.prior.dim - self.codes.continuous + code] = torch.linspace(-reach, reach, columns)
        return grid.flatten(0, 1)

    def _columns(self, count: int) -> Tensor:
        """The first latents of the run's seed with all continuous codes at 0, their middle."""
        z = self.sample_latents(self.seed, 0, count)
        z[:, self.prior.dim - self.codes.continuous :] = 0
        return z

    @torch.no_grad()
    def read_codes(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """What Q reads of images in evaluation mode: the likeliest value of each categorical code, and the means.

        Args:
            images: [n, C, H, W] in [-1, 1].

        Returns:
            int64 [n] for each categorical code, and float [n, continuous].
        """
        discriminator = self.discriminator
        head = discriminator.head
        assert isinstance(head, Information)
        training = discriminator.training
        discriminator.eval()
        with self.forward_context(), layer_noise_from(SampleDraws(self.seed, "noise", 0, len(images))):
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            logits, means = self.codes.split(head.guess(discriminator(images, labels).features))
        discriminator.train(training)
        return [code.argmax(1) for code in logits], means
