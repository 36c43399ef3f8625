"""Heads of a discriminator: from the trunk's features (and a label) to one logit, with a loss term of their own.

A head decides how the discriminator is conditioned; any head fits on any trunk. To add one: a subclass of `Head` here
and a yaml in conf/model/head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.init import initialise
from saddle.networks.norm import weight_norm

if TYPE_CHECKING:
    from saddle.turn import Turn


class Head(nn.Module):
    """What every head has: a linear layer to the logit, and what the model asks of it.

    Args:
        features: F, length of the trunk's features.
        classes: number of classes of the data; 0 where it has no labels.
        norm: the discriminator's norm (`model.d_norm`); spectral norms the head's weights too, others do not touch it.
        init: a name known to `initialise`.

    Raises:
        InputError: where the head needs labels and the data has none.
    """

    needs_labels: ClassVar[bool] = False

    def __init__(self, features: int, classes: int, norm: str = "none", init: str = "orthogonal"):
        super().__init__()
        if self.needs_labels and classes < 1:
            name = type(self).__name__.lower()
            raise InputError(f"model/head={name} needs data with labels; choose such data, or model/head=none")
        self.linear = weight_norm(norm, nn.Linear(features, 1))
        self._extend(features, classes, norm)
        initialise(self, init)

    def _extend(self, features: int, classes: int, norm: str) -> None:
        """Make the layers that this head has besides the linear one."""

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features [B, F] and labels [B] (int64) -> logits [B]."""
        return self.linear(features).squeeze(1)

    def loss(self, turn: Turn) -> Tensor | None:
        """The head's own term of the loss of the player whose turn it is; None where it has none."""
        return None


class Linear(Head):
    """No conditioning: logit = w . phi + b."""


class Projection(Head):
    """Projection discriminator: logit = w . phi + b + <v_y, phi>, v_y an embedding of the label.

    Miyato and Koyama 2018, equation 3; BigGAN uses it. Embedding and linear layer are both spectral-normed where the
    discriminator is.
    """

    needs_labels = True

    def _extend(self, features: int, classes: int, norm: str) -> None:
        self.embedding = weight_norm(norm, nn.Embedding(classes, features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features [B, F] and labels [B] (int64) -> logits [B]."""
        return super().forward(features, labels) + (self.embedding(labels) * features).sum(1)
