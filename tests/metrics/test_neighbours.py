"""Nearest neighbours, precision and recall, density and coverage against brute force in float64."""

import numpy as np
import pytest
import torch
from given import Given, fill, normal
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from saddle.errors import InputError
from saddle.metrics.neighbours import DensityCoverage, PrecisionRecall, nearest, radii


def distances(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """By differences, float64: nothing cancels."""
    return np.sqrt(((x.double().numpy()[:, None] - y.double().numpy()[None]) ** 2).sum(-1))


def ball_radii(x: torch.Tensor, k: int) -> np.ndarray:
    gaps = distances(x, x)
    return np.array([np.sort(np.delete(gaps[i], i))[k - 1] for i in range(len(x))])


def slow_scores(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, float]:
    gaps, rr, rf = distances(real, fake), ball_radii(real, k), ball_radii(fake, k)
    n, m = gaps.shape
    return {
        "precision": sum(any(gaps[i, j] <= rr[i] for i in range(n)) for j in range(m)) / m,
        "recall": sum(any(gaps[i, j] <= rf[j] for j in range(m)) for i in range(n)) / n,
        "density": sum(gaps[i, j] < rr[i] for i in range(n) for j in range(m)) / (k * m),
        "coverage": sum(any(gaps[i, j] < rr[i] for j in range(m)) for i in range(n)) / n,
    }


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("block", [7, 1000])
def test_nearest_equals_brute_force(block, exclude_self):
    x = normal(0, 60)
    y = x if exclude_self else normal(1, 45)
    gaps = distances(x, y)
    if exclude_self:
        np.fill_diagonal(gaps, np.inf)
    found, where = nearest(x, y, 4, exclude_self, block)
    np.testing.assert_array_equal(where, np.argsort(gaps, 1)[:, :4])
    np.testing.assert_allclose(found.sqrt(), np.sort(gaps, 1)[:, :4], rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_near_neighbours_far_from_the_origin_do_not_cancel(offset):
    """Points 0.01 apart, a thousand from the origin: float32 products have an error of 8 and would see nothing."""
    x = (normal(2, 50, 64) * 0.01 + offset).float()
    clusters = torch.cat([x, x + 300])  # centring alone does not help
    expected = ball_radii(clusters, 3)
    np.testing.assert_allclose(radii(clusters, 3, block=32).sqrt(), expected, rtol=1e-6)
    naive = clusters.square().sum(1) + clusters.square().sum(1)[:, None] - 2 * clusters @ clusters.T
    assert float((naive.clamp(min=0).sqrt().kthvalue(4).values - torch.from_numpy(expected)).abs().max()) > 0.1


def test_equal_images_have_distance_zero():
    x = (normal(3, 20, 512) + 3).repeat(3, 1)
    assert bool((radii(x, 2, block=16) == 0).all())
    assert bool((nearest(x, x, 3)[0] == 0).all())


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m", "scale"), [(80, 80, 1.0), (60, 90, 0.6), (90, 41, 1.7)])
def test_scores_equal_brute_force(n, m, scale, k):
    real, fake = normal(4, n, 3), normal(5, m, 3) * scale + 0.2
    expected = slow_scores(real, fake, k)
    found = {**fill(PrecisionRecall(Given(3), k), real, fake), **fill(DensityCoverage(Given(3), k), real, fake)}
    assert {name: float(x) for name, x in found.items()} == pytest.approx(expected, rel=1e-12)
    assert expected["precision"] > 0 and 0 < expected["coverage"] < 1


def test_precision_and_recall_equal_torch_fidelity():
    real, fake = normal(6, 150, 16), normal(7, 120, 16) * 0.8
    found = fill(PrecisionRecall(Given(16), 3), real, fake)
    options = {"prc_neighborhood": 3, "prc_batch_size": 50, "save_cpu_ram": True, "verbose": False}
    expected = prc_features_to_metric(fake, real, **options)
    assert float(found["precision"]) == pytest.approx(expected[KEY_METRIC_PRECISION], rel=1e-6)
    assert float(found["recall"]) == pytest.approx(expected[KEY_METRIC_RECALL], rel=1e-6)


def test_identical_sets():
    """A ball holds its own centre and the k - 1 neighbours nearer than the k-th, so the density is exactly 1."""
    x = normal(8, 200, 32) + 5
    assert {name: float(v) for name, v in fill(PrecisionRecall(Given(32)), x, x).items()} == {
        "precision": 1.0,
        "recall": 1.0,
    }
    assert {name: float(v) for name, v in fill(DensityCoverage(Given(32)), x, x).items()} == {
        "density": 1.0,
        "coverage": 1.0,
    }


def test_expectations_for_one_distribution():
    """E density = 1; E coverage = 1 - prod (N - i) / (M + N - i), i = 1..k, whatever the distribution."""
    n, k, runs = 60, 5, 60
    pairs = [(normal(100 + i, n, 2), normal(900 + i, n, 2)) for i in range(runs)]
    found = [fill(DensityCoverage(Given(2), k), real, fake) for real, fake in pairs]
    density, coverage = (np.array([float(x[name]) for x in found]) for name in ("density", "coverage"))
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert abs(density.mean() - 1) < 4 * density.std() / runs**0.5
    assert abs(coverage.mean() - expected) < 4 * coverage.std() / runs**0.5


def test_an_outlier_moves_precision_and_not_density():
    real = normal(9, 100, 2) * 0.1
    far = torch.cat([real, torch.tensor([[100.0, 100.0]])])
    fake = normal(10, 100, 2) * 0.1 + 50  # between
    assert float(fill(PrecisionRecall(Given(2)), far, fake)["precision"]) == 1
    assert float(fill(DensityCoverage(Given(2)), far, fake)["density"]) == pytest.approx(1 / 5)
    assert float(fill(DensityCoverage(Given(2)), far, fake)["coverage"]) == pytest.approx(1 / 101)


def test_collapse_and_disjoint_sets():
    real = normal(11, 50, 4)
    collapsed = fill(PrecisionRecall(Given(4)), real, real[:1].repeat(20, 1))
    assert (float(collapsed["precision"]), float(collapsed["recall"])) == (1.0, 1 / 50)
    apart = {**fill(PrecisionRecall(Given(4)), real, real + 100), **fill(DensityCoverage(Given(4)), real, real + 100)}
    assert set(map(float, apart.values())) == {0.0}


def test_reset_and_other_real_images():
    """The radii that are kept are those of the images that were seen."""
    metric = DensityCoverage(Given(3))
    for seed in (12, 13):
        real, fake = normal(seed, 40, 3), normal(20, 40, 3)
        assert float(fill(metric, real, fake)["density"]) == pytest.approx(slow_scores(real, fake, 5)["density"])
        metric.reset()


def test_wrong_input():
    with pytest.raises(InputError, match="k=0"):
        PrecisionRecall(Given(), k=0)
    with pytest.raises(InputError, match="k=5 neighbours of 4 images"):
        nearest(normal(0, 5), normal(0, 5), 5, exclude_self=True)
    with pytest.raises(InputError, match="3 fake images: a score needs at least 4"):
        fill(PrecisionRecall(Given()), normal(0, 50), normal(1, 3))
