"""Classifier score and class histogram against plain numpy."""

import numpy as np
import pytest
import torch

from saddle.errors import InputError
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.metrics.scores import ClassHistogram, ClassifierScore
from saddle.randomness import Rows


class Nothing(FeatureExtractor):
    """Sizes only: the tests give the logits."""

    name, features, classes = "nothing", 1, 5
    key = fingerprint = "nothing"

    def load(self):
        raise AssertionError("no image is extracted here")

    def extract(self, network, images):
        raise AssertionError("no image is extracted here")


def outputs(logits: torch.Tensor) -> FeatureOutputs:
    return FeatureOutputs(torch.zeros(len(logits), 1), logits)


def logits(seed: int, n: int) -> torch.Tensor:
    return 3 * torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def score(logits: np.ndarray) -> float:
    p = np.exp(logits.astype(float))
    p /= p.sum(1, keepdims=True)
    return float(np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), 1))))


@pytest.mark.parametrize("splits", [1, 4])
def test_score_equals_the_formula(splits):
    fake, real = logits(0, 101), logits(1, 60)
    metric = ClassifierScore(Nothing(), splits=splits)
    for start in range(0, 101, 10):
        stop = min(start + 10, 101)
        metric.update(outputs(fake[start:stop]), False, rows=Rows(start, stop, 101))
    metric.update(outputs(real), True, rows=Rows(0, 60, 60))
    parts = [fake.numpy()[k * 101 // splits : (k + 1) * 101 // splits] for k in range(splits)]
    values = [score(part) for part in parts]
    result = metric.compute()
    assert float(result[""]) == pytest.approx(np.mean(values), rel=1e-5)
    if splits == 1:
        assert float(result["_real"]) == pytest.approx(score(real.numpy()), rel=1e-5)
    else:
        assert float(result["_std"]) == pytest.approx(np.std(values), rel=1e-4)


def test_score_bounds():
    """Sure and uniform over classes: the number of classes. The same answer everywhere: one."""
    best, worst = ClassifierScore(Nothing()), ClassifierScore(Nothing())
    best.update(outputs(100 * torch.eye(5).repeat(4, 1)), False)
    worst.update(outputs(torch.ones(20, 5)), False)
    assert float(best.compute()[""]) == pytest.approx(5)
    assert float(worst.compute()[""]) == pytest.approx(1)


def test_processes_do_not_change_the_splits():
    """Three processes with unequal contiguous blocks add up to one process's states."""
    fake = logits(2, 50)
    whole = ClassifierScore(Nothing(), splits=3)
    whole.update(outputs(fake), False, rows=Rows(0, 50, 50))
    summed = ClassifierScore(Nothing(), splits=3)
    for start, stop in ((0, 20), (20, 23), (23, 50)):
        part = ClassifierScore(Nothing(), splits=3)
        part.update(outputs(fake[start:stop]), False, rows=Rows(start, stop, 50))
        for name in part._defaults:
            setattr(summed, name, getattr(summed, name) + getattr(part, name))
    summed._update_count = 1
    assert float(summed.compute()[""]) == pytest.approx(float(whole.compute()[""]), rel=1e-12)
    assert float(summed.compute()["_std"]) == pytest.approx(float(whole.compute()["_std"]), rel=1e-9)


def test_histogram():
    seen = torch.tensor([0, 0, 0, 1, 1, 2, 0, 0])
    metric = ClassHistogram(Nothing())
    metric.update(outputs(torch.eye(5)[seen]), False, labels=torch.tensor([0, 0, 0, 1, 1, 2, 3, 4]))
    metric.update(outputs(torch.eye(5)), True)
    result = metric.compute()
    shares = np.array([5, 2, 1]) / 8
    assert float(result["class_share_min"]) == 0
    assert float(result["class_share_max"]) == pytest.approx(5 / 8)
    assert float(result["classes"]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert float(result["classes_real"]) == pytest.approx(5)
    assert float(result["label_accuracy"]) == pytest.approx(6 / 8)
    assert result["class_shares"].tolist() == pytest.approx([5 / 8, 2 / 8, 1 / 8, 0, 0])


def test_no_label_accuracy_without_labels():
    metric = ClassHistogram(Nothing())
    metric.update(outputs(torch.eye(5)), False)
    assert set(metric.compute()) == {"class_share_min", "class_share_max", "classes", "class_shares"}


def test_wrong_input():
    with pytest.raises(InputError, match="splits=0"):
        ClassifierScore(Nothing(), splits=0)
    metric = ClassifierScore(Nothing(), splits=3)
    metric.update(outputs(logits(0, 4)), False)
    with pytest.raises(InputError, match="at least 2"):
        metric.compute()
