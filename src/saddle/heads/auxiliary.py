"""The head that classifies: AC-GAN and its two corrections."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.heads.base import LinearHead
from saddle.networks.init import initialise
from saddle.networks.norm import weight_norm
from saddle.precision import at_least_float32
from saddle.turn import Turn


class Classifier(nn.Module):
    """AC-GAN's classifier C (Odena et al. 2017, equations 2 and 3). CE is the mean cross-entropy, in nats.

    D: CE(C(x), y) + fake_weight * CE(C(G(z, y)), y), G: CE(C(G(z, y)), y).

    Args:
        features: F, length of the trunk's features.
        classes: K.
        norm: of the discriminator; spectral norms these weights too.
        init: a name known to `initialise`.
        fake_weight: factor of the term in which D learns the classes of G's images.
    """

    outputs = 1  # per class

    def __init__(self, features: int, classes: int, norm: str, init: str, fake_weight: float):
        super().__init__()
        self.classes, self.fake_weight = classes, fake_weight
        self.logits = initialise(weight_norm(norm, nn.Linear(features, self.outputs * classes)), init)

    def cross_entropy(self, features: Tensor, targets: Tensor) -> Tensor:
        """CE of features [B, F] and the targets [B] (int64), 0-d."""
        return F.cross_entropy(at_least_float32(self.logits(features)), targets)

    def discriminator(self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor) -> Tensor:
        """D's term from the features [B, F] and labels [B] of real and of generated images."""
        term = self.cross_entropy(real, real_labels)
        return term + self.fake_weight * self.cross_entropy(fake, fake_labels) if self.fake_weight else term

    def generator(self, fake: Tensor, fake_labels: Tensor) -> Tensor:
        """G's term from the features [B, F] and labels [B] of its images."""
        return self.cross_entropy(fake, fake_labels)


class TwinClassifier(Classifier):
    """TAC-GAN's pair of classifiers (Gong et al. 2019): C, and a twin T that learns from generated images alone.

    D: AC-GAN's + CE(T(G(z, y)), y), G: CE(C(G(z, y)), y) - CE(T(G(z, y)), y). The better T tells G's classes apart,
    the more G is asked to let them overlap; this undoes the wish of AC-GAN's G for classes without overlap.
    """

    def __init__(self, features: int, classes: int, norm: str, init: str, fake_weight: float):
        super().__init__(features, classes, norm, init, fake_weight)
        self.twin = initialise(weight_norm(norm, nn.Linear(features, classes)), init)

    def twin_cross_entropy(self, features: Tensor, targets: Tensor) -> Tensor:
        """CE of the twin, 0-d."""
        return F.cross_entropy(at_least_float32(self.twin(features)), targets)

    def discriminator(self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor) -> Tensor:
        """D's term: AC-GAN's, and the cross-entropy of the twin on generated images."""
        own = super().discriminator(real, real_labels, fake, fake_labels)
        return own + self.twin_cross_entropy(fake, fake_labels)

    def generator(self, fake: Tensor, fake_labels: Tensor) -> Tensor:
        """G's term: AC-GAN's, less the cross-entropy of the twin."""
        return super().generator(fake, fake_labels) - self.twin_cross_entropy(fake, fake_labels)


class DiscriminativeClassifier(Classifier):
    """ADC-GAN's classifier of 2 K classes (Hou et al. 2022): a real y is class y, a generated y is class K + y.

    D: CE(C(x), y) + fake_weight * CE(C(G(z, y)), K + y), G: CE(C(G(z, y)), y) - CE(C(G(z, y)), K + y). The difference
    is the log odds of "real" for an image of class y, so that G learns the joint law of images and labels from it.

    Raises:
        InputError: with fake_weight 0: C would never see a generated image.
    """

    outputs = 2

    def __init__(self, features: int, classes: int, norm: str, init: str, fake_weight: float):
        if not fake_weight:
            raise InputError("model.head.variant=adc learns from generated images: choose model.head.fake_weight=1")
        super().__init__(features, classes, norm, init, fake_weight)

    def discriminator(self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor) -> Tensor:
        """D's term: AC-GAN's, with the class K + y for a generated y."""
        return super().discriminator(real, real_labels, fake, fake_labels + self.classes)

    def generator(self, fake: Tensor, fake_labels: Tensor) -> Tensor:
        """G's term: AC-GAN's, less the cross-entropy at the class K + y."""
        return super().generator(fake, fake_labels) - self.cross_entropy(fake, fake_labels + self.classes)


VARIANTS: dict[str, type[Classifier]] = {"ac": Classifier, "tac": TwinClassifier, "adc": DiscriminativeClassifier}


class Auxiliary(LinearHead):
    """A second output that classifies: the logit is unconditional, the label enters through a cross-entropy.

    Args:
        features, classes, norm, init: as for `LinearHead`.
        variant: "ac" (Odena et al. 2017), "tac" (Gong et al. 2019) or "adc" (Hou et al. 2022); see the classes above.
        d_weight, g_weight: factors of the terms of D and of G; 1 in the papers.
        fake_weight: inside D's term, the factor of the classes of generated images; 1 in the papers.

    Raises:
        InputError: for data without labels, another variant, or "adc" with fake_weight 0.
    """

    needs_labels = True

    def __init__(
        self,
        features: int,
        classes: int,
        norm: str = "none",
        init: str = "orthogonal",
        *,
        variant: str = "ac",
        d_weight: float = 1.0,
        g_weight: float = 1.0,
        fake_weight: float = 1.0,
    ):
        super().__init__(features, classes, norm, init)
        if variant not in VARIANTS:
            raise InputError(f"model.head.variant={variant}: must be one of {', '.join(VARIANTS)}")
        self.d_weight, self.g_weight = d_weight, g_weight
        self.classifier = VARIANTS[variant](features, classes, norm, init, fake_weight)

    def loss(self, turn: Turn) -> Tensor:
        """The classifier's term; a mean over images, so each process's own rows suffice."""
        fake, fake_labels = turn.fake_verdict.features, turn.fake_labels
        if turn.player == "generator":
            return self.g_weight * self.classifier.generator(fake, fake_labels)
        real, real_labels = turn.real_verdict.features, turn.real_labels
        return self.d_weight * self.classifier.discriminator(real, real_labels, fake, fake_labels)
