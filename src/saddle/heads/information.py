"""InfoGAN's head: Q(c|x), a guess at the latent codes of a generated image, on the trunk that it shares with D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.heads.base import LinearHead
from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, weight_norm
from saddle.precision import at_least_float32
from saddle.turn import Turn

HIDDEN = 128  # units between the features and the guess, as in the released code
SLOPE = 0.1  # of the LeakyReLU


@dataclass(frozen=True)
class Codes:
    """The codes at the end of a latent: one-hot categorical ones, then continuous ones from the uniform law on [-1, 1).

    Args:
        categorical: number of values of each categorical code.
        continuous: number of continuous codes.

    Raises:
        InputError: where a categorical code has fewer than two values.
    """

    categorical: tuple[int, ...]
    continuous: int

    def __post_init__(self) -> None:
        if any(values < 2 for values in self.categorical):
            raise InputError(f"model.categorical={list(self.categorical)}: give every code 2 values or more")
        if self.continuous < 0:
            raise InputError(f"model.continuous={self.continuous}: must be at least 0")

    @property
    def size(self) -> int:
        """How many numbers of a latent the codes take."""
        return sum(self.categorical) + self.continuous

    def split(self, numbers: Tensor) -> tuple[list[Tensor], Tensor]:
        """Numbers [B, size], codes or a guess at them, as one [B, values] per categorical code and [B, continuous]."""
        *categorical, continuous = numbers.split([*self.categorical, self.continuous], 1)
        return categorical, continuous


class Information(LinearHead):
    """The logit of a linear layer, and a guess at the codes (Chen et al. 2016, InfoGAN).

    Q reads the trunk's features through a hidden layer of 128 units, batch norm where D has it, and LeakyReLU: logits
    of each categorical code, and the mean of each continuous code under a normal law of standard deviation 1. Both
    players minimise -L_I, the variational bound on the mutual information of codes and images (equations 5 and 6) that
    Q gives, on generated images: -E log Q(c|G(z, c)), without the entropy of the codes, which is constant.

    Args:
        categorical, continuous: those of `Codes`.
        weight: lambda of the categorical codes.
        continuous_weight: lambda of the continuous codes.

    Attributes:
        codes: what it guesses.

    Raises:
        InputError: without any code; from `loss`, if the model's latents hold no codes or other ones.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        categorical: Sequence[int] = (10,),
        continuous: int = 2,
        weight: float = 1.0,
        continuous_weight: float = 1.0,
        **shared: Any,
    ):
        super().__init__(features, classes, **shared)
        self.codes = Codes(tuple(categorical), continuous)
        if not self.codes.size:
            raise InputError("model/head=information guesses latent codes, and this model has none: add model=infogan")
        self.weight, self.continuous_weight = weight, continuous_weight
        batch_norm = self.norm == "batch"
        self.guesser = nn.Sequential(
            weight_norm(self.norm, nn.Linear(features, HIDDEN, bias=not batch_norm)),  # the norm has one
            BatchNorm(HIDDEN) if batch_norm else nn.Identity(),
            nn.LeakyReLU(SLOPE),
            weight_norm(self.norm, nn.Linear(HIDDEN, self.codes.size)),
        )
        initialise(self.guesser, self.init)

    def guess(self, features: Tensor) -> Tensor:
        """Features [B, F] -> [B, codes.size] in float32 at least: logits of categorical codes, means of the others."""
        return at_least_float32(self.guesser(features))

    def loss(self, turn: Turn) -> Tensor:
        """weight * (mean cross-entropies) + continuous_weight * (mean negative log-likelihoods), of generated images.

        Each code's term is added up. The bound on the mutual information, with the entropies of the codes, in nats, is
        tracked as `mutual_information` in G's turn.
        """
        if getattr(turn.game.prior, "codes", None) != self.codes:
            raise InputError(
                "model/head=information guesses latent codes, and this model's latents hold others or none"
            )
        categorical, continuous = self.surprises(self.guess(turn.fake_verdict.features), turn.latents)
        if turn.player == "generator":
            entropy = sum(map(math.log, self.codes.categorical)) + self.codes.continuous * math.log(2)
            turn.game.track("mutual_information", entropy - categorical - continuous)
        return self.weight * categorical + self.continuous_weight * continuous

    def surprises(self, guess: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """-log Q(c|x) in nats, the mean over the batch: of all categorical codes together, and of all continuous ones.

        Args:
            guess: [B, codes.size].
            latents: [B, latent_dim], the codes last.
        """
        logits, means = self.codes.split(guess)
        asked, values = self.codes.split(latents[:, latents.shape[1] - self.codes.size :].to(guess.dtype))
        categorical = guess.new_zeros(())
        for code_logits, code in zip(logits, asked, strict=True):
            categorical = categorical + F.cross_entropy(code_logits, code)
        squares = (values - means).square() / 2 + math.log(2 * math.pi) / 2
        return categorical, squares.sum(1).mean() if self.codes.continuous else torch.zeros_like(categorical)
