"""The kernel distance against torch-fidelity and slow sums."""

import numpy as np
import pytest
import torch
from given import Given, fill, normal
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from saddle.errors import InputError
from saddle.metrics.kid import KernelDistance


def slow_mmd(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a.astype(float) @ b.astype(float)) / len(a) + 1) ** 3

    pairs = {
        name: np.mean([kernel(a[i], b[j]) for i in range(len(a)) for j in range(len(b)) if name == "xy" or i != j])
        for name, a, b in (("xx", x, x), ("yy", y, y), ("xy", x, y))
    }
    return pairs["xx"] + pairs["yy"] - 2 * pairs["xy"]


def whole(x: torch.Tensor, y: torch.Tensor) -> float:
    """The score of one subset that holds everything."""
    return float(fill(KernelDistance(Given(x.shape[1]), subsets=1, subset_size=len(x)), x, y)[""])


def test_one_subset_equals_slow_sums():
    x, y = normal(0, 30), normal(1, 30) + 0.5
    assert whole(x, y) == pytest.approx(slow_mmd(x.numpy(), y.numpy()), rel=1e-9)


def test_equals_torch_fidelity_on_the_same_subsets(monkeypatch):
    real, fake = normal(2, 120, 64), normal(3, 90, 64) * 1.1
    choices = np.random.RandomState(2020)
    drawn = [[torch.from_numpy(choices.choice(n, 40, replace=False)) for n in (120, 90)] for _ in range(7)]
    monkeypatch.setattr(KernelDistance, "subset", lambda self, i, side, n: drawn[i][side == "fake"])
    found = fill(KernelDistance(Given(64), subsets=7, subset_size=40), real, fake)
    options = {"kid_subsets": 7, "kid_subset_size": 40, "verbose": False, "rng_seed": 2020}
    expected = kid_features_to_metric(real.double(), fake.double(), **options)
    assert float(found[""]) == pytest.approx(expected[KEY_METRIC_KID_MEAN], rel=1e-9)
    assert float(found["_std"]) == pytest.approx(expected[KEY_METRIC_KID_STD], rel=1e-9)


def test_the_expectation_is_zero_for_one_distribution_and_the_difference_of_moments_else():
    """With the means a and b and the kernel's feature map, E is known for one-dimensional points."""
    same = np.array([whole(normal(10 + i, 20, 3), normal(500 + i, 20, 3)) for i in range(200)])
    assert abs(same.mean()) < 4 * same.std() / 200**0.5
    # constants: k(a, a) + k(b, b) - 2 k(a, b) with k = (a b + 1)^3
    a, b = torch.full((5, 1), 0.5), torch.full((5, 1), -2.0)
    assert whole(a, b) == pytest.approx(1.25**3 + 5**3 - 2 * 0.0**3)


def test_subsets_are_a_function_of_the_seed():
    metric, other = KernelDistance(Given(), subset_size=20), KernelDistance(Given(), subset_size=20, seed=1)
    first = metric.subset(3, "real", 50)
    torch.randn(7)
    assert torch.equal(first, KernelDistance(Given(), subset_size=20).subset(3, "real", 50))
    assert len(set(first.tolist())) == 20 and int(first.max()) < 50
    for different in (other.subset(3, "real", 50), metric.subset(4, "real", 50), metric.subset(3, "fake", 50)):
        assert not torch.equal(first, different)


def test_wrong_input():
    with pytest.raises(InputError, match="subset_size=1"):
        KernelDistance(Given(), subset_size=1)
    with pytest.raises(InputError, match="30 fake images are fewer than subset_size=40"):
        fill(KernelDistance(Given(), subset_size=40), normal(0, 50), normal(1, 30))
