"""Laws of latents and labels, and truncation."""

import math

import pytest
import torch

from saddle.errors import InputError
from saddle.prior import Prior
from saddle.randomness import Draws, Rows


def test_training_latents_follow_their_prior():
    def draws():
        return Draws(0, 0, "latents", Rows(0, 2000, 2000))

    normal, uniform = Prior(10).draw(draws()), Prior(10, "uniform").draw(draws())
    assert normal.shape == uniform.shape == (2000, 10)
    assert abs(normal.var() - 1) < 0.03
    assert uniform.min() >= -1 and uniform.max() < 1
    assert abs(uniform.mean()) < 0.02 and abs(uniform.var() - 1 / 3) < 0.01


def test_samples_are_normal_and_their_own():
    z = Prior(8, "normal").sample(0, 0, 5000)
    assert z.dtype == torch.float32 and z.isfinite().all()
    assert abs(z.mean()) < 0.02 and abs(z.var() - 1) < 0.02
    assert abs(z.pow(4).mean() - 3) < 0.2  # kurtosis
    assert torch.equal(z[123:457], Prior(8, "normal").sample(0, 123, 457))
    assert not torch.equal(z[:5], Prior(8, "normal").sample(1, 0, 5))


def test_uniform_samples():
    z = Prior(8, "uniform").sample(0, 0, 3000)
    assert z.min() >= -1 and z.max() < 1
    assert abs(z.var() - 1 / 3) < 0.01
    with pytest.raises(InputError, match="uniform"):
        Prior(8, "uniform").sample(0, 0, 3, truncation=0.5)


@pytest.mark.parametrize("t", [0.04, 0.5, 1.0, 2.0])
def test_truncated_law(t):
    z = Prior(8, "normal").sample(0, 0, 6000, truncation=t)
    assert z.abs().max() <= t * (1 + 1e-6)
    assert z.abs().max() > 0.99 * t
    density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * t * density / math.erf(t / math.sqrt(2))
    assert z.double().var().item() == pytest.approx(variance, rel=0.02)
    assert abs(z.mean()) < 0.02 * t


def test_truncation_keeps_the_order_of_samples():
    free, truncated = Prior(2, "normal").sample(0, 0, 50), Prior(2, "normal").sample(0, 0, 50, truncation=0.5)
    assert torch.equal(free[:, 0].argsort(), truncated[:, 0].argsort())


def test_a_wide_threshold_changes_nothing():
    free = Prior(2, "normal").sample(0, 0, 500)
    assert torch.allclose(free, Prior(2, "normal").sample(0, 0, 500, truncation=100.0))


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan])
def test_senseless_thresholds_are_refused(t):
    with pytest.raises(InputError, match="truncation"):
        Prior(8, "normal").sample(0, 0, 3, truncation=t)


def test_labels_of_samples_are_of_every_class_and_zero_without_classes():
    labels = Prior(2, classes=3).sample_labels(0, 0, 600)
    assert labels.dtype == torch.int64 and (labels.bincount() > 150).all() and len(labels.bincount()) == 3
    assert Prior(2).sample_labels(0, 5, 9).tolist() == [0, 0, 0, 0]
