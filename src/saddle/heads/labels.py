"""Heads that read the label on the way to the logit."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.heads.base import Head, LinearHead
from saddle.networks.init import initialise
from saddle.networks.norm import weight_norm


class Projection(Head):
    """Projection discriminator: logit = w . phi + b + <v_y, phi>, v_y an embedding of the label.

    Miyato and Koyama 2018, equation 3; BigGAN uses it.
    """

    needs_labels = True

    def __init__(self, features: int, classes: int, norm: str = "none", init: str = "orthogonal"):
        super().__init__(features, classes, norm, init)
        self.linear = weight_norm(norm, nn.Linear(features, 1))
        self.embedding = weight_norm(norm, nn.Embedding(classes, features))
        initialise(self, init)

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return self.linear(features).squeeze(1) + (self.embedding(labels) * features).sum(1)


class Concat(LinearHead):
    """Concatenation: logit = w . h + b, h = leaky ReLU of a linear layer of [phi, v_y], v_y an embedding of the label.

    Mirza and Osindero 2014, where image and label meet in a joint hidden layer (there of maxout units). Without it,
    the label could only shift the logit: w . [phi, v_y] is the sum of a number of the image and a number of the label.

    Args:
        embedding: length of v_y (50 in the paper, from memory).
        hidden: length of h (240 in the paper, from memory).
    """

    needs_labels = True

    def __init__(self, features: int, classes: int, *, embedding: int = 50, hidden: int = 240, **shared: Any):
        super().__init__(hidden, classes, **shared)
        self.embedding = self.layer(nn.Embedding(classes, embedding))
        self.hidden = self.layer(nn.Linear(features + embedding, hidden))

    def forward(self, features: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        both = torch.cat([features, self.embedding(labels).to(features.dtype)], 1)
        return super().forward(F.leaky_relu(self.hidden(both), 0.2), labels, images)
