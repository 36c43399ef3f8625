"""The head that compares images with each other and with class proxies: ContraGAN and ReACGAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.distributed import all_gather
from saddle.errors import InputError
from saddle.heads.base import LinearHead
from saddle.precision import at_least_float32
from saddle.turn import Turn


class Contrastive(LinearHead):
    """The logit is unconditional; a contrastive term pulls an image to the proxy of its class.

    An image has the embedding l = W phi + b, a class the proxy e, an embedding of the label; both are divided by their
    Euclidean norm. D adds the term of the real images, G that of its own; both over the global batch.

    Args:
        variant: "2c" (Kang and Park 2020, ContraGAN), "d2d_ce" (Kang et al. 2021, ReACGAN).
        d_weight, g_weight: factors of the terms of D and of G, the papers' lambda.
        dim: length of embeddings and proxies.
        temperature: t of `two_c`, tau of `d2d_ce`.
        positive_margin: of "d2d_ce": the similarity to its own proxy with which an image is content.
        negative_margin: of "d2d_ce": the similarity to images of other classes that is allowed; None for
            1 - positive_margin.

    Raises:
        InputError: for data without labels, or another variant.
    """

    needs_labels = True

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        variant: str = "2c",
        d_weight: float = 1.0,
        g_weight: float = 1.0,
        dim: int = 512,
        temperature: float = 1.0,
        positive_margin: float = 0.98,
        negative_margin: float | None = None,
        **shared: Any,
    ):
        super().__init__(features, classes, **shared)
        if variant not in VARIANTS:
            raise InputError(f"model.head.variant={variant}: must be one of {', '.join(VARIANTS)}")
        self.variant, self.d_weight, self.g_weight, self.temperature = variant, d_weight, g_weight, temperature
        self.positive_margin = positive_margin
        self.negative_margin = 1 - positive_margin if negative_margin is None else negative_margin
        self.embed = self.layer(nn.Linear(features, dim))
        self.proxies = self.layer(nn.Embedding(classes, dim))

    def loss(self, turn: Turn) -> Tensor:
        """The term of D's real images or of G's."""
        if turn.player == "generator":
            return self.g_weight * self.term(turn.fake_features, all_gather(turn.fake_labels))
        return self.d_weight * self.term(turn.real_features, all_gather(turn.real_labels))

    def term(self, features: Tensor, labels: Tensor) -> Tensor:
        """The variant's term from the features [B, F] and labels [B] of a global batch, 0-d."""
        embeddings = F.normalize(at_least_float32(self.embed(features)), dim=1)
        proxies = F.normalize(at_least_float32(self.proxies(labels)), dim=1)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round similarities to 1/256
            return VARIANTS[self.variant](self, embeddings @ embeddings.T, (embeddings * proxies).sum(1), labels)

    def two_c(self, pairs: Tensor, own: Tensor, labels: Tensor) -> Tensor:
        """The 2C loss (Kang and Park 2020, ContraGAN), the mean over images i of

            -log (exp(l_i . e_i / t) + P_i) / (exp(l_i . e_i / t) + Q_i),

        P_i being the sum of exp(l_i . l_j / t) over the other images j of the same class, Q_i over all other images.

        Args:
            pairs: similarities l_i . l_j of the images, [B, B].
            own: similarity l_i . e_i of each image to the proxy of its class, [B].
            labels: int64 [B].
        """
        own = own[:, None] / self.temperature
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        others = (pairs / self.temperature).masked_fill(itself, -torch.inf)
        same = others.masked_fill(labels[:, None] != labels, -torch.inf)
        return (torch.cat([own, others], 1).logsumexp(1) - torch.cat([own, same], 1).logsumexp(1)).mean()

    def d2d_ce(self, pairs: Tensor, own: Tensor, labels: Tensor) -> Tensor:
        """The data-to-data cross-entropy (Kang et al. 2021, ReACGAN), the mean over images i of

            -log p_i / (p_i + sum of exp(max(0, l_i . l_j - m_n) / tau) over the images j of other classes),
            p_i = exp(min(0, l_i . e_i - m_p) / tau),

        m_p and m_n being the positive and the negative margin. Arguments as for `two_c`.
        """
        attraction = (own - self.positive_margin).clamp(max=0) / self.temperature
        repulsion = (pairs - self.negative_margin).clamp(min=0) / self.temperature
        repulsion = repulsion.masked_fill(labels[:, None] == labels, -torch.inf)
        return (torch.cat([attraction[:, None], repulsion], 1).logsumexp(1) - attraction).mean()


VARIANTS: dict[str, Callable[[Contrastive, Tensor, Tensor, Tensor], Tensor]] = {
    "2c": Contrastive.two_c,
    "d2d_ce": Contrastive.d2d_ce,
}
