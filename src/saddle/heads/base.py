"""What every head has, and the plain one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.init import initialise
from saddle.networks.norm import weight_norm
from saddle.turn import Turn

M = TypeVar("M", bound=nn.Module)


class Head(nn.Module, ABC):
    """The way from features to the logit, and what the model asks of it. Made by keyword for a trunk's features.

    Args, which heads share; one whose layers start in a way of their own takes no norm and no init:
        features: F, length of the trunk's features.
        classes: number of classes of the data; 0 where it has no labels.
        norm: the discriminator's norm (`model.d_norm`); spectral norms the head's weights too, others do not touch it.
        init: of the weights, one of `saddle.networks.init.INITIALISERS`.

    Raises:
        InputError: where the head needs labels and the data has none.
    """

    needs_labels: ClassVar[bool] = False
    #: Whether the logit is minus the error of a reconstruction, as the losses of EBGAN and BEGAN want it.
    reconstructs: ClassVar[bool] = False

    def __init__(self, features: int, classes: int = 0, norm: str = "none", init: str = "orthogonal"):
        super().__init__()
        self.norm, self.init = norm, init
        if self.needs_labels and classes < 1:
            name = type(self).__name__.lower()
            raise InputError(f"model/head={name} needs data with labels; choose such data, or model/head=none")

    def layer(self, module: M) -> M:
        """A layer of this head, normed and drawn as `norm` and `init` say."""
        return initialise(weight_norm(self.norm, module), self.init)

    @abstractmethod
    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """Features [B, F] and labels [B] (int64) of images [B, C, H, W] -> logits [B]; not every head reads all."""

    def loss(self, turn: Turn) -> Tensor | None:
        """The head's own term of the loss of the player whose turn it is; None where it has none.

        It joins the loss of both players; in G's turn no parameter of the head is trained, but the gradient flows
        through it.
        """
        return None


class LinearHead(Head):
    """No conditioning: logit = w . phi + b. The heads that make their logit so build on it."""

    def __init__(self, features: int, classes: int, norm: str = "none", init: str = "orthogonal"):
        super().__init__(features, classes, norm, init)
        self.linear = self.layer(nn.Linear(features, 1))

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return self.linear(features).squeeze(1)
