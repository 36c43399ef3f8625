"""StyleGAN and StyleGAN2 (Karras et al. 2019, 2020): style mixing in training, truncation of w in sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.models.base import GAN, Rules
from saddle.models.progan import Growing, ProGAN
from saddle.turn import Turn


@dataclass(frozen=True)
class Styles(Rules):
    """Rules of a style-based GAN.

    Args:
        style_mixing: share of the images that mix two styles; 0.9 in the papers, 0 for CIFAR-10.
        truncation_cutoff: layers, from the first, that truncation acts on; None: all. 8 in StyleGAN's figures.

    Raises:
        InputError: for a share outside [0, 1].
    """

    style_mixing: float = 0.9
    truncation_cutoff: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.style_mixing <= 1:
            raise InputError(f"model.style_mixing={self.style_mixing}: must be in [0, 1]")


@dataclass(frozen=True)
class GrowingStyles(Styles, Growing):
    """Rules of StyleGAN: those of both."""

    def __post_init__(self) -> None:
        Styles.__post_init__(self)
        Growing.__post_init__(self)


class StyleTurn(Turn):
    """A turn in which G's images mix styles."""

    def options(self, purpose: str) -> dict[str, Any]:
        """Second latents [b, dim], and int64 [b]: the first layer that follows them, all layers for none."""
        game = cast(StyleBased, self.game)
        if not game.rules.style_mixing:
            return {}
        draws = self.draws(f"mixing/{purpose}")
        crossover, mixed = 1 + draws.integers(game.layers - 1), draws.uniform() < game.rules.style_mixing
        return {"mixing": game.prior.draw(draws), "crossover": torch.where(mixed, crossover, game.layers)}


class StyleBased(GAN):
    """A GAN whose G reads intermediate latents w, one per layer: that of StyleGAN or StyleGAN2.

    In training, an image mixes the styles of two latents with probability `style_mixing`: from a random layer on, the
    second one counts. The layer is drawn for each image; in the released code for a batch. `truncation` of samples is
    psi: w becomes w_avg + psi (w - w_avg).

    Raises:
        InputError: for a generator without styles.
    """

    turn_type = StyleTurn
    rules_type: ClassVar[type[Rules]] = Styles

    def __init__(self, *parts: Any, **more: Any):
        super().__init__(*parts, **more)
        if not hasattr(self.generator, "styles"):
            raise InputError("this model mixes styles: choose stylegan or stylegan2 for model/generator")

    @property
    def layers(self) -> int:
        """How many w an image reads."""
        network: Any = self.generator
        return network.layers

    def sample_latents(self, seed: int, start: int, stop: int, truncation: float | None = None) -> Tensor:
        """The latents of the samples number `start` to `stop` of a seed; truncation acts on w, not on them."""
        return super().sample_latents(seed, start, stop)

    def sample_images(self, network: nn.Module, latents: Tensor, labels: Tensor, truncation: float | None) -> Tensor:
        """A generator's images of sampled latents, their w truncated to psi."""
        psi = 1.0 if truncation is None else truncation
        return network(latents, labels, truncation=psi, cutoff=self.rules.truncation_cutoff)


class StyleGAN(StyleBased, ProGAN):
    """StyleGAN: style-based, and growing where `growing` says so."""

    rules_type = GrowingStyles

    @property
    def layers(self) -> int:
        """How many w the images of this stage read."""
        return 2 * (self.stage + 1)
