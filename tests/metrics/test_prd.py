"""Precision-recall curves: closed forms for small histograms, and clusters of features."""

import numpy as np
import pytest
import torch
from given import Given, fill, normal

from saddle.errors import InputError
from saddle.metrics.prd import PrecisionRecallCurve, f_beta, prd_curve


def test_curve_equals_a_slow_loop():
    draws = np.random.default_rng(0)
    fake, real = (draws.dirichlet(np.ones(6)) for _ in range(2))
    precision, recall = prd_curve(fake, real, 11)
    for i, angle in enumerate(np.linspace(1e-10, np.pi / 2 - 1e-10, 11)):
        slope = np.tan(angle)
        alpha = sum(min(slope * r, f) for r, f in zip(real, fake, strict=True))
        beta = sum(min(r, f / slope) for r, f in zip(real, fake, strict=True))
        assert (precision[i], recall[i]) == pytest.approx((alpha, beta), rel=1e-9, abs=1e-12)
    assert (np.diff(precision) >= 0).all() and (np.diff(recall) <= 1e-12).all()


def test_curves_with_closed_forms():
    """Identical: one corner at (1, 1). Half of the modes: precision 1 at recall 1/2. Nothing in common: zero."""
    whole, half = np.full(4, 0.25), np.array([0.5, 0.5, 0, 0])
    precision, recall = prd_curve(whole, whole)
    assert len(precision) == 1001
    assert max(np.minimum(precision, recall)) == pytest.approx(1)
    precision, recall = prd_curve(half, whole)  # fakes miss half
    assert recall.max() == pytest.approx(0.5) and precision.max() == pytest.approx(1)
    assert f_beta(precision, recall, 8) == pytest.approx(65 * 0.5 / (64 + 0.5), rel=1e-3)
    assert f_beta(precision, recall, 1 / 8) == pytest.approx((65 / 64) * 0.5 / (1 / 64 + 0.5), rel=1e-3)
    precision, recall = prd_curve(np.array([1.0, 0]), np.array([0, 1.0]))
    assert f_beta(precision, recall, 8) == f_beta(precision, recall, 1 / 8) == 0


def clusters(modes: list[int], seed: int) -> torch.Tensor:
    """60 points about each of some corners, far apart."""
    centres = 100 * torch.eye(8)[modes]
    return (centres[:, None] + normal(seed, 60).view(1, 60, 8)).flatten(0, 1)


def test_metric_on_clusters_that_k_means_must_find():
    everything, half = clusters([0, 1, 2, 3], 0), clusters([0, 1], 1).repeat(2, 1)
    missing = fill(PrecisionRecallCurve(Given(), clusters=4, runs=2), everything, half)
    extra = fill(PrecisionRecallCurve(Given(), clusters=4, runs=2), half, everything)
    assert float(missing["_f8"]) == pytest.approx(65 * 0.5 / 64.5, rel=0.01)
    assert float(extra["_f1_8"]) == pytest.approx(float(missing["_f8"]), rel=1e-6)  # sides swapped
    assert missing["_precision"].shape == missing["_recall"].shape == (1001,)


def test_identical_and_disjoint_sets_and_sides_of_other_sizes():
    x = normal(2, 200)
    same = fill(PrecisionRecallCurve(Given(), clusters=10, runs=2), x, x)
    assert (float(same["_f8"]), float(same["_f1_8"])) == pytest.approx((1, 1), abs=1e-6)
    apart = fill(PrecisionRecallCurve(Given(), clusters=10, runs=2), x, x + 100)
    assert (float(apart["_f8"]), float(apart["_f1_8"])) == pytest.approx((0, 0), abs=1e-6)
    metric = PrecisionRecallCurve(Given(), clusters=5, runs=2)
    fewer = fill(metric, normal(3, 300), normal(4, 120))
    assert float(fewer["_f8"]) > 0.9
    metric.reset()
    assert torch.equal(fill(metric, normal(3, 300), normal(4, 120))["_precision"], fewer["_precision"])


def test_wrong_input():
    with pytest.raises(InputError, match="clusters=1"):
        PrecisionRecallCurve(Given(), clusters=1)
    with pytest.raises(InputError, match="15 fake images: a score needs at least 20"):
        fill(PrecisionRecallCurve(Given()), normal(0, 50), normal(1, 15))
