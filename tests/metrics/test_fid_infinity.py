"""The extrapolated Frechet distance: a line through two points, and Gaussians whose distance is known."""

import numpy as np
import pytest
from given import Given, fill, normal

from saddle.errors import InputError
from saddle.metrics.fid_infinity import FrechetInfinity
from saddle.metrics.frechet import frechet_of_features


def test_removes_most_of_the_bias():
    """A shift of 0.5 in each of 16 dimensions: the distance is 4, that of 200 samples is well above it."""
    real = normal(0, 20_000, 16)
    errors = []
    for seed in range(5):
        fake = normal(seed + 1, 400, 16) + 0.5
        found = fill(FrechetInfinity(Given(16), points=8, smallest=100), real, fake)
        biased = float(frechet_of_features(real, fake[:100]))
        assert float(found["_slope"]) > 0 and float(found[""]) < biased
        errors.append((float(found[""]) - 4, biased - 4))
    mean = np.mean(errors, 0)
    assert abs(mean[0]) < 0.35 * abs(mean[1])


def test_two_points_are_joined():
    """With two sizes the line goes through both values."""
    real, fake = normal(10, 100, 3), normal(11, 60, 3) * 1.5
    metric = FrechetInfinity(Given(3), points=2, smallest=20)
    found = fill(metric, real, fake)
    last = float(found[""] + found["_slope"] / 60)
    assert last == pytest.approx(float(frechet_of_features(real, fake)), rel=1e-6)
    metric.reset()
    assert float(fill(metric, real, fake)[""]) == float(found[""])


def test_wrong_input():
    with pytest.raises(InputError, match="points=1"):
        FrechetInfinity(Given(), points=1)
    with pytest.raises(InputError, match="smallest=50: score more images"):
        fill(FrechetInfinity(Given(), smallest=50), normal(0, 60), normal(1, 50))
