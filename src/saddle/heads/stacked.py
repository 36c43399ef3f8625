"""The Stacked GAN's head of its image level."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.heads.base import Head
from saddle.precision import at_least_float32
from saddle.turn import Turn


class Level(Head):
    """D0's logit and Q0, the guess of the noise z0 that an image was made with.

    Args:
        noise: length of z0.
        class_logits: the logit is log sum exp of one logit per class, which D learns from the labels of real images
            too, by their mean cross-entropy (Salimans et al. 2016, section 5; the paper's recipe for CIFAR-10).

    Raises:
        InputError: for class logits without classes.
    """

    def __init__(self, features: int, classes: int, *, noise: int, class_logits: bool = False, **shared: Any):
        super().__init__(features, classes, **shared)
        if class_logits and classes < 1:
            raise InputError("model.head.class_logits needs data with labels; choose such data, or leave it false")
        self.class_logits = class_logits
        self.linear = self.layer(nn.Linear(features, classes if class_logits else 1))
        self.guess = self.layer(nn.Linear(features, noise))

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        logits = self.linear(features)
        return at_least_float32(logits).logsumexp(1) if self.class_logits else logits.squeeze(1)

    def loss(self, turn: Turn) -> Tensor | None:
        """In D's turn the cross-entropy of real images, where there are class logits."""
        if not self.class_logits or turn.player == "generator":
            return None
        return F.cross_entropy(at_least_float32(self.linear(turn.real_verdict.features)), turn.real_labels)
