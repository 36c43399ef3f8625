"""Mode coverage: against slow loops and closed forms, through the evaluator, and the refusals."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saddle.data.mixtures import Grid, Mixture, Ring
from saddle.errors import InputError
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.modes import ModeCoverage, NearestCentre
from saddle.metrics.sources import ModelSource


def score(samples, assignment) -> dict:
    metric = ModeCoverage(assignment)
    metric.update(samples)
    return metric.compute()


def test_by_hand():
    samples = torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, 0.31], [4.0, 0.1], [2.0, 2.0], [4.0, 4.0], [3.8, 4.2]])
    found = score(samples, NearestCentre([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]], 0.1))
    p = [2 / 5, 1 / 5, 0, 2 / 5]  # (0, 0.31) and (2, 2) are too far away
    assert int(found["modes"]) == 3 and float(found["high_quality"]) == pytest.approx(5 / 7)
    assert found["mode_shares"].tolist() == pytest.approx(p)
    assert float(found["reverse_kl"]) == pytest.approx(sum(x * math.log(x * 4) for x in p if x), abs=1e-12)
    middle = [(x + 0.25) / 2 for x in p]
    first = sum(x * math.log(x / m) for x, m in zip(p, middle, strict=True) if x)
    second = sum(0.25 * math.log(0.25 / m) for m in middle)
    assert float(found["mode_jsd"]) == pytest.approx((first + second) / 2, abs=1e-12)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=30), st.floats(0.05, 0.6))
def test_against_a_loop(points, sigma):
    centres = Grid(9, 2.0).points().tolist()
    found = NearestCentre(centres, sigma)(torch.tensor(points, dtype=torch.float64))
    for (x, y), mode in zip(points, found.tolist(), strict=True):
        distances = [math.hypot(x - a, y - b) for a, b in centres]
        if abs(min(distances) - 3 * sigma) > 1e-6:  # not on the rim itself
            assert (mode == -1) == (min(distances) > 3 * sigma)
        if mode >= 0:
            assert distances[mode] <= min(distances) + 1e-9


def test_small_deviations_far_from_zero():
    centre = torch.tensor([[1000.0, 1000.0]])
    assert NearestCentre(centre, 0.001)(centre + torch.tensor([[0.002, 0.0], [0.004, 0.0]])).tolist() == [0, -1]


def test_the_mixture_itself():
    options = dict(resolution=1, channels=2, classes=25, batch_size=4, flip=False, bounded=False)
    data = Mixture(centres=Grid(25, 2.0), sigma=0.05, points=25_000, seed=3, **options)
    data.setup()
    found = score(data.train_set.__getitems__(range(25_000))[0], NearestCentre(data.centres, data.sigma))
    assert int(found["modes"]) == 25
    assert float(found["high_quality"]) == pytest.approx(1 - math.exp(-4.5), abs=0.003)
    assert float(found["reverse_kl"]) < 1e-4 and float(found["mode_jsd"]) < 1e-4


@pytest.mark.parametrize("n", [2, 8, 25])
def test_divergences_at_both_ends(n):
    """Every mode equally often, and a single one."""
    centres = Ring(n, 1.0).points()
    uniform, one = (score(points, NearestCentre(centres, 1e-3)) for points in (centres, centres[:1].repeat(n, 1)))
    assert float(uniform["reverse_kl"]) == pytest.approx(0, abs=1e-12)
    assert float(uniform["mode_jsd"]) == pytest.approx(0, abs=1e-12)
    assert float(one["reverse_kl"]) == pytest.approx(math.log(n))
    m = (1 + 1 / n) / 2
    expected = (-math.log(m) + math.log(1 / n / m) / n + (n - 1) / n * math.log(2)) / 2
    assert float(one["mode_jsd"]) == pytest.approx(expected)


def test_batches_add_up():
    points = torch.randn(100, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    assignment, metric = NearestCentre(Ring(8, 1.0), 0.1), ModeCoverage(NearestCentre(Ring(8, 1.0), 0.1))
    for part in points.split(33):
        metric.update(part)
    whole = score(points, assignment)
    assert {name: value.tolist() for name, value in metric.compute().items()} == {
        name: value.tolist() for name, value in whole.items()
    }


def test_no_sample_of_high_quality():
    found = score(torch.full((5, 2), 50.0), NearestCentre(Ring(8, 1.0), 0.01))
    assert set(found) == {"modes", "high_quality", "mode_shares"}  # no frequencies, so no divergence
    assert int(found["modes"]) == 0 and float(found["high_quality"]) == 0


class Parity:
    """Another assignment: even images belong to mode 0, odd ones to mode 1, negative ones to none."""

    modes = 2

    def __call__(self, samples):
        values = samples.flatten(1)[:, 0].long()
        return torch.where(values < 0, -1, values % 2)


def test_any_assignment():
    found = score(torch.tensor([0, 2, 3, -1]).view(4, 1, 1, 1), Parity())
    assert found["mode_shares"].tolist() == pytest.approx([2 / 3, 1 / 3])


class Model:
    """Its samples are the real points, halved where `scale` says so."""

    conditional, device = False, torch.device("cpu")

    def __init__(self, points, scale=1.0):
        self.points, self.scale = points, scale

    def sample(self, start, stop, **options):
        return self.points[start:stop] * self.scale, torch.zeros(stop - start).long()


def test_through_the_evaluator_points_are_not_quantised():
    options = dict(resolution=1, channels=2, classes=8, batch_size=4, flip=False, bounded=False)
    data = Mixture(centres=Ring(8, 10.0), sigma=0.01, points=1000, seed=0, **options)
    data.setup()
    evaluator = Evaluator({"modes": ModeCoverage(NearestCentre(data.centres, data.sigma))}, samples=500, batch=64)
    scores = evaluator.measure(Model(data.train_set.images.double()), data)
    assert scores.scores["eval/modes"] == 8 and scores.scores["eval/high_quality"] > 0.97
    assert set(scores.scores) == {"eval/modes", "eval/high_quality", "eval/reverse_kl", "eval/mode_jsd"}
    assert len(scores.vectors["eval/mode_shares"]) == 8
    assert evaluator.measure(Model(data.train_set.images, 0.5), data).scores["eval/high_quality"] == 0


def test_a_model_of_pixels_is_still_quantised():
    images = ModelSource(Model(torch.tensor([-1.0, 0.2, 1.0]).view(3, 1, 1, 1)), 3).read(0, 3)[0]
    assert images.dtype == torch.uint8 and images.flatten().tolist() == [0, 153, 255]


def test_wrong_input():
    with pytest.raises(InputError, match="data=ring or data=grid"):
        NearestCentre(None, None)
    with pytest.raises(InputError, match="0 fake images"):
        ModeCoverage(Parity()).compute()
