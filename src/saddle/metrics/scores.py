"""Scores of what a classifier sees in the images: how sure it is, how varied, which classes, and the right ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saddle.errors import InputError
from saddle.metrics.base import ImageMetric, Statistic, require_images
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.randomness import Rows


class SplitProbabilities(Statistic):
    """Sums of the class probabilities and of their negative entropies over the images of each split, in float64.

    A sample belongs to a split by its position in the whole set, so the number of processes does not matter: contiguous
    parts where the evaluator tells the positions, else every `splits`-th image in the order of the updates.

    Args:
        splits: number of parts.
        classes: number of classes.
    """

    name = "ClassifierScore"

    def __init__(self, splits: int, classes: int):
        self.splits, self.classes = splits, classes
        self.settings = f"splits={splits}"

    def empty(self) -> dict[str, Tensor | list[Tensor]]:
        sizes = {"n": (self.splits,), "p": (self.splits, self.classes), "plogp": (self.splits,)}
        return {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}

    def add(self, states: dict[str, Any], outputs: FeatureOutputs, labels: Tensor | None, rows: Rows | None) -> None:
        logp = outputs.logits.double().log_softmax(1)
        p = logp.exp()
        if rows is None:
            before = int(states["n"].sum())
            split = torch.arange(before, before + len(p)) % self.splits
        else:  # part i is [i N // splits, (i + 1) N // splits), as in torch-fidelity
            split = (torch.arange(rows.start + 1, rows.stop + 1) * self.splits - 1) // rows.total
        split = split.to(p.device)
        states["n"].index_add_(0, split, torch.ones_like(p[:, 0]))
        states["p"].index_add_(0, split, p)
        states["plogp"].index_add_(0, split, (p * logp).sum(1))


class ClassifierScore(ImageMetric):
    """``exp(E_x KL(p(y|x) || p(y)))`` (Salimans et al. 2016): the Inception score where the extractor is Inception.

    Mean and standard deviation over splits of the set (`SplitProbabilities`), and the mean for the real images as a
    reference.

    Args:
        splits: number of parts, at least 1.
    """

    def __init__(self, extractor: FeatureExtractor, splits: int = 1, **kwargs: Any):
        if splits < 1:
            raise InputError(f"splits={splits}: the score needs at least one split")
        super().__init__(extractor, SplitProbabilities(splits, extractor.classes), **kwargs)
        self.splits = splits

    def compute(self) -> dict[str, Tensor]:
        """Mean, ``_std`` (with several splits), and ``_real`` (where real images were seen); at least 1."""
        real, fake = self.states("real"), self.states("fake")
        require_images(fake["n"].min(), "fake (in the smallest split)")
        scores = _scores(**fake)
        result = {"": scores.mean()}
        if self.splits > 1:
            result["_std"] = scores.std(correction=0)
        if real["n"].min() > 0:
            result["_real"] = _scores(**real).mean()
        return result


def _scores(n: Tensor, p: Tensor, plogp: Tensor) -> Tensor:
    marginal = p / n[:, None]
    return (plogp / n - torch.special.xlogy(marginal, marginal).sum(1)).exp()


class ClassCounts(Statistic):
    """How often each class is the most probable one, and of fakes also how often it is the one that was asked for.

    Args:
        classes: number of classes.
        fake: whether the images are fakes.
    """

    name = "ClassHistogram"

    def __init__(self, classes: int, fake: bool):
        self.classes, self.fake = classes, fake

    def empty(self) -> dict[str, Tensor | list[Tensor]]:
        sizes = {"counts": (self.classes,)} | ({"right": (), "asked": ()} if self.fake else {})
        return {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}

    def add(self, states: dict[str, Any], outputs: FeatureOutputs, labels: Tensor | None, rows: Rows | None) -> None:
        seen = outputs.logits.argmax(1)
        states["counts"] += torch.bincount(seen, minlength=self.classes)
        if self.fake and labels is not None:
            states["right"] += (seen == labels.to(seen.device)).sum()
            states["asked"] += len(seen)


class ClassHistogram(ImageMetric):
    """Which classes the classifier sees: whether modes are missing, and whether the requested class was made."""

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        real, fake = (ClassCounts(extractor.classes, fake) for fake in (False, True))
        super().__init__(extractor, real, fake, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """Of the fakes' predicted classes: smallest and largest share, exp(entropy), the shares.

        ``classes`` is the exponential of the entropy in nats: the number of classes that are there, from 1 to
        all of them; ``classes_real`` and ``class_shares_real`` are those of the real images, where any were
        seen. ``label_accuracy`` is the share of fakes that are seen as the class they were asked to be.
        """
        real, fake = self.states("real"), self.states("fake")
        require_images(fake["counts"].sum(), "fake")
        shares = fake["counts"] / fake["counts"].sum()
        result = {
            "class_share_min": shares.min(),
            "class_share_max": shares.max(),
            "classes": _effective_number(shares),
            "class_shares": shares,
        }
        if real["counts"].sum() > 0:
            real_shares = real["counts"] / real["counts"].sum()
            result |= {"classes_real": _effective_number(real_shares), "class_shares_real": real_shares}
        if fake["asked"] > 0:
            result["label_accuracy"] = fake["right"] / fake["asked"]
        return result


def _effective_number(shares: Tensor) -> Tensor:
    return (-torch.special.xlogy(shares, shares).sum()).exp()
