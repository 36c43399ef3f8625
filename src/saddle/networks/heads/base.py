"""What every head has."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
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
    #: Whether the logit is minus the error of a reconstruction, as the losses of EBGAN and BEGAN want it.
    reconstructs: ClassVar[bool] = False

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

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """Features [B, F] and labels [B] (int64) of images [B, C, H, W] -> logits [B]."""
        return self.linear(features).squeeze(1)

    def loss(self, turn: Turn) -> Tensor | None:
        """The head's own term of the loss of the player whose turn it is; None where it has none.

        It joins the loss of both players; in G's turn no parameter of the head is trained, but the gradient flows
        through it.
        """
        return None


def wide(x: Tensor) -> Tensor:
    """`x` in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
