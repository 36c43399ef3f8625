"""The head that classifies: AC-GAN and its two corrections."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.heads.base import LinearHead
from saddle.precision import at_least_float32
from saddle.turn import Turn

VARIANTS = ("ac", "tac", "adc")


class Auxiliary(LinearHead):
    """A second output that classifies: the logit is unconditional, the label enters through a cross-entropy.

    C is the classifier of K classes, CE the mean cross-entropy, in nats, and w `fake_weight`. The variants are

        ac, AC-GAN (Odena et al. 2017, equations 2 and 3)
            D: CE(C(x), y) + w CE(C(G(z, y)), y)
            G: CE(C(G(z, y)), y)
        tac, TAC-GAN (Gong et al. 2019), with a twin T of C that learns from generated images alone
            D: AC-GAN's + CE(T(G(z, y)), y)
            G: AC-GAN's - CE(T(G(z, y)), y)
        adc, ADC-GAN (Hou et al. 2022), where C has 2 K classes: a real y is class y, a generated y is class K + y
            D: CE(C(x), y) + w CE(C(G(z, y)), K + y)
            G: CE(C(G(z, y)), y) - CE(C(G(z, y)), K + y)

    The better T tells G's classes apart, the more G is asked to let them overlap; this undoes the wish of AC-GAN's G
    for classes without overlap. ADC-GAN's difference is the log odds of "real" for an image of class y, so that G
    learns the joint law of images and labels from it.

    Args:
        variant: ac, tac or adc.
        d_weight, g_weight: factors of the terms of D and of G; 1 in the papers.
        fake_weight: inside D's term, the factor of the classes of generated images; 1 in the papers.

    Raises:
        InputError: for data without labels, another variant, or adc with fake_weight 0: C would never see a generated
            image.
    """

    needs_labels = True

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        variant: str = "ac",
        d_weight: float = 1.0,
        g_weight: float = 1.0,
        fake_weight: float = 1.0,
        **shared: Any,
    ):
        super().__init__(features, classes, **shared)
        if variant not in VARIANTS:
            raise InputError(f"model.head.variant={variant}: must be one of {', '.join(VARIANTS)}")
        if variant == "adc" and not fake_weight:
            raise InputError("model.head.variant=adc learns from generated images: choose model.head.fake_weight=1")
        self.variant, self.classes = variant, classes
        self.d_weight, self.g_weight, self.fake_weight = d_weight, g_weight, fake_weight
        self.classifier = nn.ModuleDict()
        self.classifier["logits"] = self.layer(nn.Linear(features, classes * (2 if variant == "adc" else 1)))
        if variant == "tac":
            self.classifier["twin"] = self.layer(nn.Linear(features, classes))

    def loss(self, turn: Turn) -> Tensor:
        """The classifier's term; a mean over images, so each process's own rows suffice."""
        fake, labels = turn.fake_verdict.features, turn.fake_labels
        fake_classes = labels + self.classes if self.variant == "adc" else labels
        if turn.player == "generator":
            term = self.cross_entropy("logits", fake, labels)
            if self.variant != "ac":
                rival = "twin" if self.variant == "tac" else "logits"
                term = term - self.cross_entropy(rival, fake, fake_classes)
            return self.g_weight * term
        term = self.cross_entropy("logits", turn.real_verdict.features, turn.real_labels)
        if self.fake_weight:
            term = term + self.fake_weight * self.cross_entropy("logits", fake, fake_classes)
        if self.variant == "tac":
            term = term + self.cross_entropy("twin", fake, labels)
        return self.d_weight * term

    def cross_entropy(self, layer: str, features: Tensor, targets: Tensor) -> Tensor:
        """CE of what a layer of the classifier says of features [B, F] and the targets [B] (int64), 0-d."""
        return F.cross_entropy(at_least_float32(self.classifier[layer](features)), targets)
