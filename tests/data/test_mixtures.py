"""Mixtures of Gaussians in the plane: where the centres are, the law of the points, and that nothing quantises them."""

import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saddle.data.loader import Iterations, Loader
from saddle.data.mixtures import Grid, Mixture, Ring
from saddle.distributed import Share
from saddle.errors import InputError
from saddle.images import from_data, to_data

OPTIONS = dict(resolution=1, channels=2, classes=8, batch_size=4, flip=False, bounded=False)


def loaded(centres=None, **options) -> Mixture:
    chosen = OPTIONS | dict(sigma=0.01, points=8000, seed=0) | options
    data = Mixture(centres=Ring(8, 1.0) if centres is None else centres, **chosen)
    data.prepare_data()
    data.setup()
    return data


def test_ring_has_eight_distinct_centres():
    half = math.sqrt(0.5)
    expected = [(1, 0), (half, half), (0, 1), (-half, half), (-1, 0), (-half, -half), (0, -1), (half, -half)]
    assert Ring(8, 2.0).points() / 2 == pytest.approx(torch.tensor(expected), abs=1e-7)


def test_grid_is_the_published_one():
    expected = {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert {tuple(centre) for centre in Grid(25, 2.0).points().tolist()} == expected


@given(st.integers(1, 12), st.floats(0.1, 5))
def test_neighbours_are_spacing_apart_and_the_middle_is_zero(side, spacing):
    centres = Grid(side**2, spacing).points()
    assert centres.shape == (side**2, 2)
    assert centres.mean(0) == pytest.approx(torch.zeros(2), abs=1e-5)
    if side > 1:
        nearest = (torch.cdist(centres, centres) + 1e9 * torch.eye(side**2)).amin(1)
        assert nearest == pytest.approx(torch.full((side**2,), spacing), rel=1e-4)


@pytest.mark.parametrize(("make", "modes"), [(Ring, 0), (Ring, -3), (Grid, 24), (Grid, 0), (Grid, -4)])
def test_modes_that_cannot_be(make, modes):
    with pytest.raises(InputError, match=f"data.centres.modes={modes}"):
        make(modes, 1.0).points()


def test_points_are_the_mixture():
    data = loaded(sigma=0.3)
    points, labels = data.train_set.__getitems__(range(8000))
    assert points.shape == (8000, 2, 1, 1) and points.dtype == torch.float32 and labels.dtype == torch.int64
    assert labels.bincount().tolist() == [1000] * 8
    offsets = (points.flatten(1) - Ring(8, 1.0).points()[labels]).double()
    assert offsets.mean(0).abs().max() < 5 * 0.3 / 8000**0.5
    assert offsets.T @ offsets / 8000 == pytest.approx(0.09 * torch.eye(2, dtype=torch.float64), abs=0.008)
    within = (offsets.norm(dim=1) <= 3 * 0.3).double().mean()
    assert float(within) == pytest.approx(1 - math.exp(-4.5), abs=0.005)  # a Rayleigh law
    assert data.test_set is None


def test_a_function_of_the_seed():
    assert loaded().train_set.fingerprint() == loaded().train_set.fingerprint()
    assert loaded().train_set.fingerprint() != loaded(seed=1).train_set.fingerprint()
    assert loaded().train_set.fingerprint() != loaded(sigma=0.02).train_set.fingerprint()


def test_classes_can_be_left_away():
    assert loaded(classes=0).train_set.labels.unique().tolist() == [0]


def test_nothing_quantises_a_point():
    data = loaded(Ring(8, 100.0))
    image_set = data.train_set
    assert image_set.dtype == torch.float32
    for points, labels in islice(Loader(image_set, Iterations(8000, 0, Share(64))), 3):
        seen = from_data(points, torch.float64)
        assert (seen.flatten(1).norm(dim=1) - 100).abs().max() < 0.06
        assert len(seen.unique(dim=0)) == 64
        assert torch.equal(to_data(seen, image_set.dtype), points)
        assert (points.flatten(1) - Ring(8, 100.0).points()[labels]).abs().max() < 0.06


def test_streamed_points_equal_those_in_memory():
    assert loaded().train_set.images.nbytes == 8000 * 8
    held, streamed = loaded(), loaded(memory_gb=1e-9)
    assert held.train_set.in_memory and not streamed.train_set.in_memory and streamed.train_set.dtype == torch.float32
    chosen = [5, 0, 7999]
    for a, b in zip(held.train_set.__getitems__(chosen), streamed.train_set.__getitems__(chosen), strict=True):
        assert torch.equal(a, b)


def test_wrong_input():
    with pytest.raises(InputError, match="data.resolution=32"):
        loaded(resolution=32)
    with pytest.raises(InputError, match=r"data.channels=3.*set data.channels=2"):
        loaded(channels=3)
    with pytest.raises(InputError, match=r"data.bounded=true.*set data.bounded=false"):
        loaded(bounded=True)
    with pytest.raises(InputError, match=r"data.classes=9.*set data.classes=8"):
        loaded(classes=9)


@pytest.mark.parametrize(("name", "modes", "sigma"), [("ring", 8, 0.01), ("grid", 25, 0.05)])
def test_configuration(name, modes, sigma):
    from hydra import compose, initialize_config_dir
    from tiny import CONF

    from saddle.config import resolvers
    from saddle.run.build import build_callbacks, build_data

    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"data={name}"])
    data = build_data(cfg)
    assert data.centres.shape == (modes, 2) and (data.sigma, data.points, data.classes) == (sigma, 100_000, modes)
    assert cfg.evaluation.samples == 2500 and [*cfg.metrics] == ["modes"]
    assert "PointCloud" in {type(callback).__name__ for callback in build_callbacks(cfg, Path("folder"))}
