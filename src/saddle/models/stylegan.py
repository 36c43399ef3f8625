"""StyleGAN and StyleGAN2 (Karras et al. 2019, 2020): style mixing in training, truncation of w in sampling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.models.base import GAN
from saddle.models.progan import ProGAN
from saddle.turn import Turn


class StyleBased(GAN):
    """A GAN whose G reads intermediate latents w, one per layer.

    In training, an image mixes the styles of two latents with probability `style_mixing`: from a random layer on, the
    second one counts. The layer is drawn for each image; in the released code for a batch. `truncation` of samples is
    psi: w becomes w_avg + psi (w - w_avg).

    Args:
        *args: of `GAN`; G is that of StyleGAN or StyleGAN2.
        style_mixing: share of the images that mix two styles; 0.9 in the papers, 0 for CIFAR-10.
        truncation_cutoff: layers, from the first, that truncation acts on; None: all. 8 in StyleGAN's figures.
        **options: of `GAN`.

    Raises:
        InputError: for a generator without styles, or a share outside [0, 1].
    """

    def __init__(self, *args: Any, style_mixing: float = 0.9, truncation_cutoff: int | None = None, **options: Any):
        super().__init__(*args, **options)
        if not hasattr(self.generator, "styles"):
            raise InputError("this model mixes styles: choose stylegan or stylegan2 for model/generator")
        if not 0 <= style_mixing <= 1:
            raise InputError(f"model.style_mixing={style_mixing}: must be in [0, 1]")
        self.style_mixing, self.truncation_cutoff = style_mixing, truncation_cutoff

    @property
    def layers(self) -> int:
        """How many w an image reads."""
        network: Any = self.generator
        return network.layers

    def generator_options(self, turn: Turn, purpose: str) -> dict[str, Any]:
        """Second latents [b, latent_dim], and int64 [b]: the first layer that follows them, all layers for none."""
        if not self.style_mixing:
            return {}
        draws = turn.draws(f"mixing/{purpose}")
        crossover, mixed = 1 + draws.integers(self.layers - 1), draws.uniform() < self.style_mixing
        return {"mixing": self.draw_latents(draws), "crossover": torch.where(mixed, crossover, self.layers)}

    def sample_latents(self, seed: int, start: int, stop: int, truncation: float | None = None) -> Tensor:
        """The latents of the samples number `start` to `stop` of a seed; truncation acts on w, not on them."""
        return super().sample_latents(seed, start, stop)

    def sample_images(self, network: nn.Module, latents: Tensor, labels: Tensor, truncation: float | None) -> Tensor:
        """A generator's images of sampled latents, their w truncated to psi."""
        psi = 1.0 if truncation is None else truncation
        return network(latents, labels, truncation=psi, cutoff=self.truncation_cutoff)


class StyleGAN(StyleBased, ProGAN):
    """StyleGAN: style-based, and growing where `growing` says so. For the arguments see `StyleBased` and `ProGAN`."""

    @property
    def layers(self) -> int:
        """How many w the images of this stage read."""
        return 2 * (self.stage + 1)
