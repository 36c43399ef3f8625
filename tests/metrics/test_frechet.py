"""The Frechet distance against scipy's matrix square root, closed forms and its invariants."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddle.errors import InputError
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.metrics.frechet import (
    FrechetDistance,
    covariance_overlap,
    factor,
    frechet_distance,
    frechet_of_features,
    product_of_definite,
)


class Pixels(FeatureExtractor):
    """Features are the four pixels of a 2x2 image."""

    name, features, classes = "pixels", 4, 4
    key = fingerprint = "pixels"

    def load(self):
        return torch.nn.Identity()

    def extract(self, network, images):
        flat = images.flatten(1).float()
        return FeatureOutputs(flat, flat)


def reference(x: np.ndarray, y: np.ndarray) -> float:
    """The formula of the FID paper by scipy's general matrix square root."""
    cx, cy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(cx @ cy)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy - 2 * np.real(root)))


def distance(x: torch.Tensor, y: torch.Tensor, ranks: bool = True) -> float:
    covariances = (torch.atleast_2d(z.T.cov()) for z in (x, y))
    known = (len(x) - 1, len(y) - 1) if ranks else None
    return float(frechet_distance(x.mean(0), next(covariances), y.mean(0), next(covariances), known))


def samples(seed: int, n: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.randn(n, size, generator=generator, dtype=torch.float64) @ mix + torch.arange(size) * 0.1


def test_equals_scipy():
    x, y = samples(0, 400, 24), samples(1, 300, 24)
    for ranks in (True, False):
        assert distance(x, y, ranks) == pytest.approx(reference(x.numpy(), y.numpy()), rel=1e-8)


def eigenvalue_route(x: torch.Tensor, y: torch.Tensor) -> float:
    """As torchmetrics and others compute it: eigenvalues of the product, which is not symmetric."""
    cx, cy = x.T.cov(), y.T.cov()
    roots = torch.linalg.eigvals(cx @ cy).sqrt().real.sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + cx.trace() + cy.trace() - 2 * roots)


def gram_route(x: torch.Tensor, y: torch.Tensor) -> float:
    """Without covariances: the trace of the root is the nuclear norm of a product of the centred samples."""
    a, b = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (x, y))
    overlap = torch.linalg.svdvals(a @ b.T).sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * overlap)


@pytest.mark.parametrize(("n", "m"), [(500, 700), (40, 700), (700, 40), (40, 30), (65, 64)])
def test_equals_the_other_routes_with_many_and_with_few_samples(n, m):
    """Features with a decaying spectrum after a ReLU, one that is always zero and two that are equal."""
    x, y = ((samples(seed, count, 64) / torch.arange(1, 65)).relu() for seed, count in ((5, n), (6, m)))
    for z in (x, y):
        z[:, 10], z[:, 11] = 0, z[:, 12]
    assert distance(x, y) == pytest.approx(gram_route(x, y), rel=1e-9)
    assert distance(y, x) == pytest.approx(distance(x, y), rel=1e-9)
    assert distance(x, y) == pytest.approx(eigenvalue_route(x, y), rel=1e-6, abs=1e-5)
    assert float(frechet_of_features(x.float(), y.float())) == pytest.approx(distance(x, y), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_factor_reveals_the_rank(scale):
    x = scale * samples(7, 20, 12)
    x[:, 3], x[:, 7] = 0, x[:, 1] - x[:, 2]
    covariance = x.T.cov().numpy()
    found, order = factor(covariance, 12)
    assert found.shape == (12, 10)
    np.testing.assert_allclose(found @ found.T, covariance[np.ix_(order, order)], atol=1e-12 * np.abs(covariance).max())
    assert factor(covariance, 4)[0].shape == (12, 4)


def test_definite_and_singular_covariances_by_their_two_routes():
    """The plain factorisation gives the pivoted one's value, is refused near rank deficiency, and changes nothing."""
    first, second = (samples(seed, 60, 12).T.cov().numpy() for seed in (11, 12))
    kept = first.copy(), second.copy()
    inner = product_of_definite(first, second)
    assert inner is not None
    direct = np.sqrt(np.linalg.eigvalsh(inner, UPLO="L").clip(min=0)).sum()
    factored, order = factor(first, 12)
    pivoted = np.sqrt(np.linalg.eigvalsh(factored.T @ second[np.ix_(order, order)] @ factored).clip(min=0)).sum()
    assert direct == pytest.approx(pivoted, rel=1e-12)
    assert covariance_overlap(first, second, 12) == pytest.approx(pivoted, rel=1e-12)
    assert np.array_equal(first, kept[0]) and np.array_equal(second, kept[1])
    few = samples(13, 9, 12).T.cov().numpy()
    assert product_of_definite(few, second) is None


def test_zero_covariances():
    """Collapse to one image on both sides, and on one."""
    point, spread = torch.ones(5, 3, dtype=torch.float64), samples(8, 5, 3)
    assert distance(point, 3 * point) == pytest.approx(12)
    expected = float((spread.mean(0) - 1).square().sum() + spread.T.cov().trace())
    assert distance(point, spread) == distance(spread, point) == pytest.approx(expected)


def test_one_dimension_has_a_closed_form():
    got = frechet_distance(*(torch.tensor(v) for v in ([1.0], [[4.0]], [-2.0], [[0.25]])))
    assert float(got) == pytest.approx(3.0**2 + (2.0 - 0.5) ** 2)


def test_commuting_covariances_have_a_closed_form():
    basis, _ = torch.linalg.qr(samples(2, 6, 6))
    a, b = torch.arange(1.0, 7.0, dtype=torch.float64), torch.tensor([3.0, 0, 1, 8, 2, 5], dtype=torch.float64)
    zero = torch.zeros(6)
    got = frechet_distance(zero, basis * a @ basis.T, zero, basis * b @ basis.T)
    assert float(got) == pytest.approx(float((a.sqrt() - b.sqrt()).square().sum()), abs=1e-6)


def test_fewer_samples_than_features():
    """The covariances are those of 9 samples in 64 dimensions; the exact value needs only a 9 x 9 problem."""
    x, y = samples(3, 9, 64), samples(4, 9, 64)
    assert distance(x, y) == pytest.approx(gram_route(x, y), rel=1e-9)
    assert distance(x, x) == pytest.approx(0, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 12))
def test_invariants(seed, n, size):
    x, y = samples(seed, n, size), samples(seed + 1, n + 3, size)
    d, scale = distance(x, y), float(x.square().sum() + y.square().sum() + 1)
    assert 0 <= d < float("inf")
    assert distance(y, x) == pytest.approx(d, abs=1e-7 * scale)
    assert distance(x, x) == pytest.approx(0, abs=1e-6 * scale)
    shift = torch.linspace(-1, 2, size, dtype=torch.float64)
    assert distance(x + shift, y + shift) == pytest.approx(d, abs=1e-7 * scale)
    assert distance(x, x + shift) == pytest.approx(float(shift.square().sum()), abs=1e-6 * scale)
    assert distance(3 * x, 3 * y) == pytest.approx(9 * d, abs=1e-6 * scale)


def images(seed: int, n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_metric_on_images_alone():
    """Without an evaluator, in batches, after a reset."""
    metric = FrechetDistance(Pixels())
    real, fake = images(0, 50), images(1, 40)
    for _ in range(2):
        for batch in real.split(7):
            metric.update(batch, real=True)
        metric.update(fake, real=False)
        expected = reference(real.flatten(1).double().numpy(), fake.flatten(1).double().numpy())
        assert float(metric.compute()) == pytest.approx(expected, rel=1e-6)
        metric.reset()


def test_states_of_processes_add_up():
    real, fake = images(2, 31), images(3, 18)
    whole, *parts = (FrechetDistance(Pixels()) for _ in range(4))
    whole.update(real, real=True)
    whole.update(fake, real=False)
    for i, part in enumerate(parts):
        part.update(real[i::3], real=True)
        part.update(fake[i::3], real=False)
    for name in whole._defaults:
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), getattr(whole, name))
        assert whole._reductions[name] is not None


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (torch.zeros(2, 1, 2, 2), "float32"),
        (torch.full((2, 1, 2, 2), float("nan")), "NaN"),
        (torch.zeros(2, 2, 2, 2, dtype=torch.uint8), "shape"),
        (torch.zeros(2, 2, dtype=torch.uint8), "shape"),
    ],
)
def test_wrong_images_are_refused(bad, says):
    with pytest.raises(InputError, match=says):
        FrechetDistance(Pixels()).update(bad, real=True)


def test_one_image_is_refused():
    metric = FrechetDistance(Pixels())
    metric.update(images(0, 5), real=True)
    metric.update(images(0, 1), real=False)
    with pytest.raises(InputError, match="1 fake images"):
        metric.compute()
