"""Scores of what a classifier sees in the images: how sure it is, how varied, which classes, and the right ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saddle.errors import InputError
from saddle.metrics.base import ImageMetric, require_images
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.randomness import Rows


class ClassifierScore(ImageMetric):
    """``exp(E_x KL(p(y|x) || p(y)))`` (Salimans et al. 2016): the Inception score where the extractor is Inception.

    Mean and standard deviation over splits of the set, and the same for the real images as a reference. A sample
    belongs to a split by its position in the whole set, so the number of processes does not matter: contiguous parts
    where the evaluator tells the positions, else every `splits`-th image in the order of the updates.

    Args:
        extractor: gives the logits.
        splits: number of parts, at least 1.
        kwargs: of torchmetrics.Metric.
    """

    higher_is_better = True

    real_n: Tensor
    real_p: Tensor
    real_plogp: Tensor
    fake_n: Tensor
    fake_p: Tensor
    fake_plogp: Tensor

    def __init__(self, extractor: FeatureExtractor, splits: int = 1, **kwargs: Any):
        super().__init__(extractor, **kwargs)
        if splits < 1:
            raise InputError(f"splits={splits}: the score needs at least one split")
        self.splits = splits
        for side in ("real", "fake"):
            self.add_state(f"{side}_n", torch.zeros(splits, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"{side}_p", torch.zeros(splits, extractor.classes, dtype=torch.float64), "sum")
            self.add_state(f"{side}_plogp", torch.zeros(splits, dtype=torch.float64), dist_reduce_fx="sum")

    def settings(self) -> str:
        """The splits."""
        return f"splits={self.splits}"

    def accumulate(self, outputs: FeatureOutputs, real: bool, labels: Tensor | None, rows: Rows | None) -> None:
        """Add the probabilities and their negative entropies to the splits of their images."""
        logp = outputs.logits.double().log_softmax(1)
        p = logp.exp()
        side = "real" if real else "fake"
        n, sums, plogp = (getattr(self, f"{side}_{state}") for state in ("n", "p", "plogp"))
        split = self._splits_of(len(p), rows, int(n.sum())).to(p.device)
        n.index_add_(0, split, torch.ones_like(p[:, 0]))
        sums.index_add_(0, split, p)
        plogp.index_add_(0, split, (p * logp).sum(1))

    def _splits_of(self, n: int, rows: Rows | None, before: int) -> Tensor:
        if rows is None:
            return torch.arange(before, before + n) % self.splits
        # part i is [i N // splits, (i + 1) N // splits), as in torch-fidelity
        return (torch.arange(rows.start + 1, rows.stop + 1) * self.splits - 1) // rows.total

    def compute(self) -> dict[str, Tensor]:
        """Mean, ``_std`` (with several splits), and ``_real`` (where real images were seen); at least 1."""
        require_images(self.fake_n.min(), "fake (in the smallest split)")
        scores = _scores(self.fake_n, self.fake_p, self.fake_plogp)
        result = {"": scores.mean()}
        if self.splits > 1:
            result["_std"] = scores.std(correction=0)
        if self.real_n.min() > 0:
            result["_real"] = _scores(self.real_n, self.real_p, self.real_plogp).mean()
        return result


def _scores(n: Tensor, p: Tensor, plogp: Tensor) -> Tensor:
    marginal = p / n[:, None]
    return (plogp / n - torch.special.xlogy(marginal, marginal).sum(1)).exp()


class ClassHistogram(ImageMetric):
    """Which classes the classifier sees: whether modes are missing, and whether the requested class was made.

    Args:
        extractor: gives the logits.
        kwargs: of torchmetrics.Metric.
    """

    real_counts: Tensor
    fake_counts: Tensor
    fake_right: Tensor
    fake_asked: Tensor

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any):
        super().__init__(extractor, **kwargs)
        for side in ("real", "fake"):
            self.add_state(f"{side}_counts", torch.zeros(extractor.classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("fake_right", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("fake_asked", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def accumulate(self, outputs: FeatureOutputs, real: bool, labels: Tensor | None, rows: Rows | None) -> None:
        """Count the most probable classes, and those that are the requested ones."""
        seen = outputs.logits.argmax(1)
        counts = torch.bincount(seen, minlength=len(self.real_counts)).to(torch.float64)
        if real:
            self.real_counts += counts
            return
        self.fake_counts += counts
        if labels is not None:
            self.fake_right += (seen == labels.to(seen.device)).sum()
            self.fake_asked += len(seen)

    def compute(self) -> dict[str, Tensor]:
        """Of the fakes' predicted classes: smallest and largest share, exp(entropy), the shares.

        ``classes`` is the exponential of the entropy in nats: the number of classes that are there, from 1 to
        all of them; ``classes_real`` and ``class_shares_real`` are those of the real images, where any were
        seen. ``label_accuracy`` is the share of fakes that are seen as the class they were asked to be.
        """
        require_images(self.fake_counts.sum(), "fake")
        shares = self.fake_counts / self.fake_counts.sum()
        result = {
            "class_share_min": shares.min(),
            "class_share_max": shares.max(),
            "classes": _effective_number(shares),
            "class_shares": shares,
        }
        if self.real_counts.sum() > 0:
            real = self.real_counts / self.real_counts.sum()
            result |= {"classes_real": _effective_number(real), "class_shares_real": real}
        if self.fake_asked > 0:
            result["label_accuracy"] = self.fake_right / self.fake_asked
        return result


def _effective_number(shares: Tensor) -> Tensor:
    return (-torch.special.xlogy(shares, shares).sum()).exp()
